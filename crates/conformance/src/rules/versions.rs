//! Versions and revisions.

use norikv_core::{Delete, ErrorKind, Precondition, Put, Store, Version};

use crate::{
    Check, Setup, World,
    ask::{delete, get, later, newest, put, remove, write},
    refused,
};

/// An empty store is at revision 1 of term 1.
pub async fn an_empty_store_is_at_revision_1(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let begin = Version::new(1, fixture.revision);
    assert_eq!(newest(&*fixture.store).await?, begin);
    assert_eq!(put(&*fixture.store, "k", "v").await?, later(begin, 1));
    Ok(fixture.owner.close().await?)
}

/// Every write that changes something adds exactly 1 to the revision of the whole store.
pub async fn every_write_adds_exactly_1_to_the_revision_of_the_whole_store(store: &dyn Store) -> Check {
    let first = put(store, "a", "1").await?;
    // Also one that writes what is there already.
    assert_eq!(put(store, "a", "1").await?, later(first, 1));
    assert_eq!(put(store, "b", "1").await?, later(first, 2));
    let deleted = delete(store, "a").await?;
    assert_eq!((deleted.deleted, deleted.version), (true, later(first, 3)));
    assert_eq!(put(store, "a", "2").await?, later(first, 4));
    assert_eq!(get(store, "a").await?.map(|entry| entry.version), Some(later(first, 4)));
    assert_eq!(get(store, "b").await?.map(|entry| entry.version), Some(later(first, 2)));
    Ok(())
}

/// A delete of nothing takes no revision.
pub async fn a_delete_of_nothing_takes_no_revision(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let deleted = delete(store, "missing").await?;
    assert_eq!((deleted.deleted, deleted.version), (false, before));
    assert_eq!(put(store, "k", "w").await?, later(before, 1));
    Ok(())
}

/// A refused write takes no revision.
pub async fn a_refused_write_takes_no_revision(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let not_exists = Put { precondition: Precondition::NotExists, ..Put::new("k", "w") };
    refused(write(store, not_exists).await, ErrorKind::AlreadyExists)?;
    let wrong = Precondition::Version(later(before, 1));
    refused(
        write(store, Put { precondition: wrong, ..Put::new("k", "w") }).await,
        ErrorKind::VersionMismatch,
    )?;
    let wrong = Delete { if_match: Some(later(before, 1)), ..Delete::new("k") };
    refused(remove(store, wrong).await, ErrorKind::VersionMismatch)?;
    assert_eq!(put(store, "k", "w").await?, later(before, 1));
    Ok(())
}

/// A read takes no revision.
pub async fn a_read_takes_no_revision(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    for key in ["k", "missing"] {
        get(store, key).await?;
    }
    assert_eq!(put(store, "k", "w").await?, later(before, 1));
    Ok(())
}

/// Writes at the same time each have a revision of their own, without a gap.
pub async fn writes_at_the_same_time_have_revisions_without_a_gap(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let writes = (0..300).map(|n| put(store, format!("key {n}"), "v"));
    let mut versions =
        futures_util::future::join_all(writes).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    versions.sort_unstable();
    let expected: Vec<_> = (1..=300).map(|n| later(before, n)).collect();
    assert_eq!(versions, expected);
    Ok(())
}
