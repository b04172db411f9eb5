//! Forgetting old history by hand.

use norikv_core::{ErrorKind, FieldName, KeyRange, Precondition, Put, Scan, Store, Version, Watch};

use crate::{
    Check, Setup, World,
    ask::{self, compact, count, delete, floor, get, later, newest, put, write},
    refused, refused_watch,
};

fn at(version: Version) -> Scan {
    Scan { version: Some(version), ..Scan::new(KeyRange::all()) }
}

/// Twenty revisions of a few keys; answers each with what is there then.
async fn history(store: &dyn Store) -> Check<Vec<(Version, Vec<norikv_core::Entry>)>> {
    let mut then = Vec::new();
    put(store, "early", "v").await?;
    put(store, "early and gone", "v").await?;
    delete(store, "early and gone").await?;
    for n in 0..20 {
        let version = match n % 5 {
            4 => delete(store, format!("k{}", n % 3)).await?.version,
            _ => put(store, format!("k{}", n % 3), n.to_string()).await?,
        };
        let (entries, at) = ask::scan(store, Scan::new(KeyRange::all())).await?;
        assert_eq!(at, version);
        then.push((version, entries));
    }
    Ok(then)
}

/// Below the floor a read fails with it; at the floor and above it answers what was there.
pub async fn below_the_floor_a_read_fails_with_it_and_above_it_answers(store: &dyn Store) -> Check {
    let then = history(store).await?;
    for chosen in [3, 10, 19] {
        let to = then[chosen].0;
        compact(store, to).await?;
        for (version, entries) in &then {
            if *version < to {
                let error = refused(ask::page(store, at(*version)).await, ErrorKind::Compacted)?;
                assert_eq!(error.version(FieldName::CompactVersion), Some(to), "{error:?}");
                let counted = count(store, KeyRange::all(), Some(*version)).await;
                assert_eq!(
                    refused(counted, ErrorKind::Compacted)?.version(FieldName::CompactVersion),
                    Some(to)
                );
                let watch = Watch { from: Some(*version), ..Watch::new(KeyRange::all()) };
                let error = refused_watch(store, watch, ErrorKind::Compacted).await?;
                assert_eq!(error.version(FieldName::CompactVersion), Some(to), "{error:?}");
            } else {
                assert_eq!(&ask::scan(store, at(*version)).await?.0, entries, "at {version}, above {to}");
                let counted = count(store, KeyRange::all(), Some(*version)).await?;
                assert_eq!(counted, entries.len() as u64);
            }
        }
    }
    Ok(())
}

/// The status tells the floor.
pub async fn the_status_tells_the_floor(store: &dyn Store) -> Check {
    let then = history(store).await?;
    assert!(floor(store).await? < then[0].0);
    for chosen in [0, 7, 19] {
        compact(store, then[chosen].0).await?;
        assert_eq!(floor(store).await?, then[chosen].0);
    }
    Ok(())
}

/// A version in the future is refused, and nothing is forgotten.
pub async fn compaction_to_a_version_in_the_future_is_refused(store: &dyn Store) -> Check {
    let then = history(store).await?;
    let newest = newest(store).await?;
    for future in [later(newest, 1), Version::new(newest.term + 1, 1), Version::new(u64::MAX, u64::MAX)] {
        refused(compact(store, future).await, ErrorKind::InvalidArgument)?;
    }
    for (version, entries) in then {
        assert_eq!(ask::scan(store, at(version)).await?.0, entries);
    }
    Ok(())
}

/// A version below the floor is compacted already; the floor itself is no error.
pub async fn compaction_below_the_floor_is_compacted_and_to_the_floor_is_not(store: &dyn Store) -> Check {
    let then = history(store).await?;
    let to = then[8].0;
    compact(store, to).await?;
    compact(store, to).await?;
    for (version, _) in &then[..8] {
        let error = refused(compact(store, *version).await, ErrorKind::Compacted)?;
        assert_eq!(error.version(FieldName::CompactVersion), Some(to));
    }
    assert_eq!(floor(store).await?, to);
    Ok(())
}

/// What is newest stays, whenever it was written, with all its fields; and nothing takes a revision.
pub async fn what_is_newest_stays_whenever_it_was_written(store: &dyn Store) -> Check {
    history(store).await?;
    let before = ask::scan(store, Scan::new(KeyRange::all())).await?;
    compact(store, before.1).await?;
    assert_eq!(ask::scan(store, Scan::new(KeyRange::all())).await?, before);
    assert_eq!(ask::scan(store, at(before.1)).await?, before);
    for entry in &before.0 {
        assert_eq!(get(store, entry.key.clone()).await?.as_ref(), Some(entry));
    }
    assert_eq!(get(store, "early and gone").await?, None);
    assert_eq!(newest(store).await?, before.1);
    // Versions from before the floor are versions all the same.
    let early = get(store, "early").await?.ok_or("the key is gone")?;
    let precondition = Precondition::Version(early.version);
    let version = write(store, Put { precondition, ..Put::new("early", "w") }).await?;
    assert_eq!(version, later(before.1, 1));
    let again = get(store, "early").await?.ok_or("the key is gone")?;
    assert_eq!((again.generation, again.create_version), (2, early.create_version));
    Ok(())
}

/// The floor is where it was after the store was opened again.
pub async fn the_floor_stays_when_the_store_is_opened_again(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let then = history(&*fixture.store).await?;
    let to = then[12].0;
    compact(&*fixture.store, to).await?;
    let fixture = world.reopen(fixture).await?;
    let store = &*fixture.store;
    assert_eq!(floor(store).await?, to);
    refused(ask::page(store, at(then[11].0)).await, ErrorKind::Compacted)?;
    for (version, entries) in &then[12..] {
        assert_eq!(&ask::scan(store, at(*version)).await?.0, entries);
    }
    Ok(fixture.owner.close().await?)
}
