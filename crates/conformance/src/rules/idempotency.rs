//! Writes with an idempotency key.

use std::time::Duration;

use norikv_core::{Delete, ErrorKind, Precondition, Put, Store, Ttl};

use crate::{
    Check, Setup, World,
    ask::{delete, get, later, put, remove, value, write},
    refused,
};

pub(crate) fn once(id: &str, value: &'static str) -> Put {
    Put { idempotency_key: Some(id.to_owned()), ..Put::new("k", value) }
}

pub(crate) fn delete_once(id: &str) -> Delete {
    Delete { idempotency_key: Some(id.to_owned()), ..Delete::new("k") }
}

/// A repeat answers the recorded version and changes nothing, also after other writes.
pub async fn a_repeat_answers_the_recorded_version_and_changes_nothing(store: &dyn Store) -> Check {
    let first = write(store, once("id", "1")).await?;
    assert_eq!(write(store, once("id", "1")).await?, first);
    let second = put(store, "k", "2").await?;
    assert_eq!(second, later(first, 1));
    assert_eq!(write(store, once("id", "1")).await?, first);
    assert_eq!(value(store, "k").await?, Some("2".into()));
    delete(store, "k").await?;
    assert_eq!(write(store, once("id", "1")).await?, first);
    assert_eq!(get(store, "k").await?, None);
    assert_eq!(put(store, "k", "3").await?, later(first, 3));
    Ok(())
}

/// A repeated delete answers what the first answered.
pub async fn a_repeated_delete_answers_what_the_first_answered(store: &dyn Store) -> Check {
    put(store, "k", "1").await?;
    let first = remove(store, delete_once("there")).await?;
    assert!(first.deleted);
    let again = put(store, "k", "2").await?;
    assert_eq!(remove(store, delete_once("there")).await?, first);
    assert_eq!(value(store, "k").await?, Some("2".into()));
    delete(store, "k").await?;
    let nothing = remove(store, delete_once("not there")).await?;
    assert_eq!((nothing.deleted, nothing.version), (false, later(again, 1)));
    put(store, "k", "3").await?;
    assert_eq!(remove(store, delete_once("not there")).await?, nothing);
    assert_eq!(value(store, "k").await?, Some("3".into()));
    Ok(())
}

/// The same idempotency key with another write is refused, and changes nothing.
pub async fn an_idempotency_key_with_another_write_is_refused(store: &dyn Store) -> Check {
    let first = write(store, once("id", "1")).await?;
    let id = Some("id".to_owned());
    let others = [
        Put { idempotency_key: id.clone(), ..Put::new("other", "1") },
        once("id", "2"),
        Put { ttl: Some(Ttl::from_millis(60_000)?), ..once("id", "1") },
        Put { precondition: Precondition::Version(first), ..once("id", "1") },
        Put { precondition: Precondition::NotExists, ..once("id", "1") },
    ];
    for other in others {
        refused(write(store, other).await, ErrorKind::InvalidArgument)?;
    }
    refused(remove(store, delete_once("id")).await, ErrorKind::InvalidArgument)?;
    assert_eq!(get(store, "other").await?, None);
    assert_eq!(value(store, "k").await?, Some("1".into()));
    // The record is still the first write's.
    assert_eq!(write(store, once("id", "1")).await?, first);
    assert_eq!(put(store, "k", "2").await?, later(first, 1));
    Ok(())
}

/// A refused write records nothing: the same write may succeed later.
pub async fn a_refused_write_records_nothing(store: &dyn Store) -> Check {
    let before = put(store, "k", "1").await?;
    let if_missing = || Put { precondition: Precondition::NotExists, ..once("id", "2") };
    refused(write(store, if_missing()).await, ErrorKind::AlreadyExists)?;
    delete(store, "k").await?;
    let version = write(store, if_missing()).await?;
    assert_eq!(version, later(before, 2));
    assert_eq!(value(store, "k").await?, Some("2".into()));
    // Another write may have the key of one that was refused.
    refused(
        remove(store, Delete { if_match: Some(before), ..delete_once("x") }).await,
        ErrorKind::VersionMismatch,
    )?;
    write(store, once("x", "3")).await?;
    Ok(())
}

/// A repeat of a conditional write answers the recorded version, though its condition holds no more.
pub async fn a_repeat_of_a_conditional_write_answers_though_its_condition_holds_no_more(
    store: &dyn Store,
) -> Check {
    let if_missing = || Put { precondition: Precondition::NotExists, ..once("create", "1") };
    let created = write(store, if_missing()).await?;
    assert_eq!(write(store, if_missing()).await?, created);
    let if_created = || Put { precondition: Precondition::Version(created), ..once("change", "2") };
    let changed = write(store, if_created()).await?;
    assert_eq!(write(store, if_created()).await?, changed);
    let if_changed = || Delete { if_match: Some(changed), ..delete_once("delete") };
    let deleted = remove(store, if_changed()).await?;
    assert_eq!(remove(store, if_changed()).await?, deleted);
    assert_eq!(write(store, if_created()).await?, changed);
    assert_eq!(write(store, if_missing()).await?, created);
    Ok(())
}

/// Repeats at the same time are one write.
pub async fn repeats_at_the_same_time_are_one_write(store: &dyn Store) -> Check {
    let before = put(store, "k", "0").await?;
    let repeats = (0..50).map(|_| write(store, once("id", "1")));
    for version in futures_util::future::join_all(repeats).await {
        assert_eq!(version?, later(before, 1));
    }
    assert_eq!(put(store, "k", "2").await?, later(before, 2));
    Ok(())
}

/// After its window a record is forgotten: the same write happens again, and so may another.
pub async fn after_its_window_a_record_is_forgotten(world: &dyn World) -> Check {
    let window = Duration::from_millis(400);
    let setup = Setup { idempotency_window: Some(window), ..Setup::default() };
    let fixture = world.open(setup).await?;
    let store = &*fixture.store;
    let first = write(store, once("same", "1")).await?;
    write(store, once("other", "1")).await?;
    assert_eq!(write(store, once("same", "1")).await?, first);
    tokio::time::sleep(window + Duration::from_millis(2)).await;
    assert_eq!(write(store, once("same", "1")).await?, later(first, 2));
    assert_eq!(write(store, once("other", "2")).await?, later(first, 3));
    Ok(fixture.owner.close().await?)
}
