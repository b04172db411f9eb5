//! What is still true after a store was closed and opened again.

use std::time::{Duration, Instant};

use norikv_core::{ErrorKind, KeyRange, Put, Scan, Ttl};

use super::idempotency::{delete_once, once};
use crate::{
    Check, Setup, World,
    ask::{self, delete, get, later, newest, put, remove, value, write},
    refused,
};

/// A store that is opened again has every entry, with all its fields, and goes on at its revision.
pub async fn a_store_that_is_opened_again_has_every_entry_and_goes_on_at_its_revision(
    world: &dyn World,
) -> Check {
    let mut fixture = world.open(Setup::default()).await?;
    for round in 0..3 {
        let store = &*fixture.store;
        for n in 0..20 {
            put(store, format!("k{n}"), format!("{round} {n}")).await?;
        }
        delete(store, format!("k{round}")).await?;
        write(store, Put { ttl: Some(Ttl::from_millis(600_000)?), ..Put::new("lives", "v") }).await?;
        let before = ask::scan(store, Scan::new(KeyRange::all())).await?;
        fixture = world.reopen(fixture).await?;
        assert_eq!(newest(&*fixture.store).await?, before.1);
        assert_eq!(ask::scan(&*fixture.store, Scan::new(KeyRange::all())).await?, before);
    }
    Ok(fixture.owner.close().await?)
}

/// Old versions can be read after it was opened again.
pub async fn old_versions_can_be_read_after_it_was_opened_again(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let mut then = Vec::new();
    for n in 0..10 {
        put(&*fixture.store, "k", n.to_string()).await?;
        put(&*fixture.store, format!("k{n}"), "v").await?;
        delete(&*fixture.store, format!("k{}", n / 2)).await?;
        then.push(ask::scan(&*fixture.store, Scan::new(KeyRange::all())).await?);
    }
    let fixture = world.reopen(fixture).await?;
    for (entries, version) in then {
        let at = Scan { version: Some(version), ..Scan::new(KeyRange::all()) };
        assert_eq!(ask::scan(&*fixture.store, at).await?.0, entries);
    }
    Ok(fixture.owner.close().await?)
}

/// A repeat answers the recorded version, and another write is refused, also after it was opened again.
pub async fn a_repeat_answers_the_recorded_version_after_it_was_opened_again(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let first = write(&*fixture.store, once("put", "1")).await?;
    let deleted = remove(&*fixture.store, delete_once("delete")).await?;
    put(&*fixture.store, "k", "2").await?;
    let fixture = world.reopen(fixture).await?;
    let store = &*fixture.store;
    assert_eq!(write(store, once("put", "1")).await?, first);
    assert_eq!(remove(store, delete_once("delete")).await?, deleted);
    refused(write(store, once("put", "2")).await, ErrorKind::InvalidArgument)?;
    assert_eq!(value(store, "k").await?, Some("2".into()));
    assert_eq!(put(store, "k", "3").await?, later(first, 3));
    Ok(fixture.owner.close().await?)
}

/// What expired while the store was closed is gone when it is open, and its expiry takes its revision.
pub async fn what_expired_while_it_was_closed_is_gone_and_takes_its_revision(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let ttl = Duration::from_millis(40);
    let short = Put { ttl: Some(Ttl::from_millis(40)?), ..Put::new("k", "v") };
    let version = write(&*fixture.store, short).await?;
    let fixture = world.reopen(fixture).await?;
    tokio::time::sleep(ttl).await;
    assert_eq!(get(&*fixture.store, "k").await?, None);
    let begun = Instant::now();
    while newest(&*fixture.store).await? != later(version, 1) {
        assert!(begun.elapsed() < Duration::from_millis(500), "its expiry takes no revision");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(fixture.owner.close().await?)
}
