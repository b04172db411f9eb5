//! Times to live where they are counted in whole seconds, by an engine that looks for what has run out when it does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use norikv_core::{EventKind, LeaseTimeToLive, Put, Store, Ttl};
use tokio::time::{Instant, sleep};

use crate::{
    Check, Watcher,
    ask::{get, grant, keep_alive, put, revoke, with_lease, within, write},
    call,
};

/// The longest that an engine may take beyond what it was asked for.
const LATE: Duration = Duration::from_secs(8);
const TICK: Duration = Duration::from_millis(20);

fn short(key: &'static str, millis: u64) -> Result<Put, norikv_core::Error> {
    Ok(Put { ttl: Some(Ttl::from_millis(millis)?), ..Put::new(key, "v") })
}

/// An entry lives as long as it was given, and goes not long after; it says when.
pub async fn an_entry_goes_when_its_seconds_are_over(store: &dyn Store) -> Check {
    let begun = Instant::now();
    write(store, short("k", 1_500)?).await?;
    let entry = get(store, "k").await?.ok_or("it is not there")?;
    assert_eq!(entry.lease, None);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() * 1_000;
    let expires = entry.expires_at.ok_or("it does not say when it expires")?;
    assert!((now..now + 11_000).contains(&expires), "{expires} at {now}");
    while get(store, "k").await?.is_some() {
        assert!(begun.elapsed() < LATE, "it does not go");
        sleep(TICK).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "gone after {:?}", begun.elapsed());
    Ok(())
}

/// A put without a time to live takes an earlier one away, and one with another replaces it.
pub async fn the_last_put_says_how_long_an_entry_lives(store: &dyn Store) -> Check {
    write(store, short("stays", 1_000)?).await?;
    put(store, "stays", "for good").await?;
    write(store, short("longer", 1_000)?).await?;
    write(store, short("longer", 600_000)?).await?;
    write(store, short("goes", 1_000)?).await?;
    let latest = Instant::now() + LATE;
    while get(store, "goes").await?.is_some() {
        assert!(Instant::now() < latest, "it does not go");
        sleep(TICK).await;
    }
    let stays = get(store, "stays").await?.ok_or("it went")?;
    assert_eq!(stays.expires_at, None);
    assert!(get(store, "longer").await?.is_some());
    Ok(())
}

/// The keys of a lease go together, in one revision, when it is revoked and when it runs out.
pub async fn the_keys_of_a_lease_go_in_one_revision(store: &dyn Store) -> Check {
    for revoked in [true, false] {
        let lease = grant(store, if revoked { 600_000 } else { 1_000 }).await?;
        let mut last = write(store, with_lease("a", "v", lease)).await?;
        for key in ["b", "c"] {
            last = write(store, with_lease(key, "v", lease)).await?;
        }
        let next = norikv_core::Version::new(last.term, last.index + 1);
        let mut watcher = Watcher::from(store, next).await?;
        if revoked {
            revoke(store, lease).await?;
        }
        let batch = watcher.next().await?;
        assert_eq!(batch.events.len(), 3, "{batch:?}");
        assert!(
            batch
                .events
                .iter()
                .all(|event| event.kind == EventKind::Delete && event.entry.version == batch.version)
        );
    }
    Ok(())
}

/// A lease that is kept alive lives, well beyond its time.
pub async fn a_lease_lives_while_it_is_kept_alive(store: &dyn Store) -> Check {
    let lease = grant(store, 2_000).await?;
    write(store, with_lease("k", "v", lease)).await?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(300)).await;
        let [Some(left)] = keep_alive(store, vec![lease]).await?[..] else { return Err("it ran out".into()) };
        assert!(left >= Duration::from_secs(2));
    }
    let request = LeaseTimeToLive { id: lease, keys: true };
    let status = within(call(), store.lease_time_to_live(request, call())).await?;
    assert!(status.remaining <= status.granted && status.granted >= Duration::from_secs(2));
    assert_eq!(status.keys, [bytes::Bytes::from("k")]);
    Ok(())
}
