//! Times to live.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use norikv_core::{
    Delete, ErrorKind, FieldName, KeyRange, MAX_TTL, Precondition, Put, Scan, Store, Ttl, Version,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Check,
    ask::{count, delete, get, get_many, keys, later, newest, put, remove, write},
    refused,
};

/// How long after its end an expiry may take its revision.
const LATEST: Duration = Duration::from_millis(500);
/// What reading a clock twice, in whole milliseconds, may be off by.
const TICK: Duration = Duration::from_millis(2);

fn short(key: impl Into<Bytes>, millis: u64) -> Check<Put> {
    Ok(Put { ttl: Some(Ttl::from_millis(millis)?), ..Put::new(key, "v") })
}

/// Writes a key that lives so long; answers its version, and between when it ends.
async fn put_for(store: &dyn Store, key: &'static str, millis: u64) -> Check<(Version, Instant, Instant)> {
    let ttl = Duration::from_millis(millis);
    let earliest = Instant::now() + ttl - TICK;
    let version = write(store, short(key, millis)?).await?;
    Ok((version, earliest, Instant::now() + ttl + TICK))
}

/// Waits until the store is at a version that expiries bring it to, and sees that it is not led beyond. Any write
/// tells where it is, also where nothing else does.
async fn reaches(store: &dyn Store, expected: Version, latest: Instant) -> Check {
    for probes in 1.. {
        let version = put(store, "probe", "v").await?;
        let expected = later(expected, probes);
        assert!(version <= expected, "{version} instead of {expected}");
        if version == expected {
            break;
        }
        assert!(Instant::now() < latest + LATEST, "{version} instead of {expected} after {LATEST:?}");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Reads until after the end of a key, and holds every answer against the time it was given.
async fn holds_until<F: Future<Output = Check<bool>>>(
    (earliest, latest): (Instant, Instant),
    mut there: impl FnMut() -> F,
) -> Check {
    loop {
        let asked = Instant::now();
        let found = there().await?;
        let answered = Instant::now();
        assert!(found || answered >= earliest, "gone {:?} too early", earliest - answered);
        assert!(!found || asked <= latest, "still there {:?} after its end", asked - latest);
        if asked > latest {
            return Ok(());
        }
    }
}

/// A get sees an entry up to the moment it expires and not after.
pub async fn a_get_sees_an_entry_up_to_the_moment_it_expires(store: &dyn Store) -> Check {
    let (_, earliest, latest) = put_for(store, "k", 150).await?;
    holds_until((earliest, latest), async || Ok(get(store, "k").await?.is_some())).await?;
    assert_eq!(get(store, "k").await?, None);
    Ok(())
}

/// A `getMany` sees an entry up to the moment it expires and not after.
pub async fn a_get_many_sees_an_entry_up_to_the_moment_it_expires(store: &dyn Store) -> Check {
    put(store, "other", "v").await?;
    let (_, earliest, latest) = put_for(store, "k", 150).await?;
    holds_until((earliest, latest), async || {
        let entries = get_many(store, vec!["other".into(), "k".into()]).await?;
        assert!(entries[0].is_some());
        Ok(entries[1].is_some())
    })
    .await
}

/// A scan sees an entry up to the moment it expires and not after.
pub async fn a_scan_sees_an_entry_up_to_the_moment_it_expires(store: &dyn Store) -> Check {
    put(store, "other", "v").await?;
    let (_, earliest, latest) = put_for(store, "k", 150).await?;
    holds_until((earliest, latest), async || {
        Ok(keys(store, Scan::new(KeyRange::all())).await?.contains(&"k".into()))
    })
    .await
}

/// A count counts an entry up to the moment it expires and not after.
pub async fn a_count_counts_an_entry_up_to_the_moment_it_expires(store: &dyn Store) -> Check {
    put(store, "other", "v").await?;
    let (_, earliest, latest) = put_for(store, "k", 150).await?;
    holds_until((earliest, latest), async || Ok(count(store, KeyRange::all(), None).await? == 2)).await
}

/// An entry says when it expires.
pub async fn an_entry_says_when_it_expires(store: &dyn Store) -> Check {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(60);
    let before = now();
    write(store, short("k", 60_000)?).await?;
    let after = now();
    let entry = get(store, "k").await?.ok_or("the key is not there")?;
    let at = Duration::from_millis(entry.expires_at.ok_or("no expiresAt")?);
    // The store's clock never goes back, so it may differ a little from the system's.
    let slack = Duration::from_millis(100);
    assert!(before - slack <= at && at <= after + slack, "{before:?} {at:?} {after:?}");
    Ok(())
}

/// An expiry takes a revision of its own, 500 ms after its end at the latest.
pub async fn an_expiry_takes_a_revision_of_its_own_within_500_ms(store: &dyn Store) -> Check {
    let first = write(store, short("a", 100)?).await?;
    write(store, short("b", 100)?).await?;
    let (last, _, latest) = put_for(store, "c", 100).await?;
    assert_eq!(last, later(first, 2));
    reaches(store, later(last, 3), latest).await
}

/// An expiry that nobody asks for takes its revision all the same, and is a delete in the history.
pub async fn an_expiry_that_nobody_asks_for_is_a_delete_in_the_history(store: &dyn Store) -> Check {
    let (version, earliest, latest) = put_for(store, "k", 100).await?;
    while newest(store).await? == version {
        assert!(Instant::now() < latest + LATEST, "no expiry after {LATEST:?}");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(Instant::now() >= earliest);
    let expired = newest(store).await?;
    assert_eq!(expired, later(version, 1));
    let at = |version| Scan { version: Some(version), ..Scan::new(KeyRange::all()) };
    // At the version before, it was there and has expired since: what a read there answers is the store's affair.
    assert!(keys(store, at(expired)).await?.is_empty());
    put(store, "k", "again").await?;
    assert!(keys(store, at(expired)).await?.is_empty());
    Ok(())
}

/// A put without a time to live clears an earlier one.
pub async fn a_put_without_ttl_clears_an_earlier_one(store: &dyn Store) -> Check {
    let (version, _, latest) = put_for(store, "k", 100).await?;
    put(store, "k", "stays").await?;
    sleep_until(latest + Duration::from_millis(50)).await;
    let entry = get(store, "k").await?.ok_or("the key expired by a ttl that was cleared")?;
    assert_eq!((entry.value, entry.expires_at), ("stays".into(), None));
    // Nothing expired, so nothing took a revision.
    assert_eq!(put(store, "k", "v").await?, later(version, 2));
    Ok(())
}

/// A put with a time to live replaces an earlier one, by a longer or a shorter.
pub async fn a_put_with_ttl_replaces_an_earlier_one(store: &dyn Store) -> Check {
    write(store, short("longer", 50)?).await?;
    write(store, short("longer", 60_000)?).await?;
    write(store, short("shorter", 60_000)?).await?;
    let (_, _, latest) = put_for(store, "shorter", 50).await?;
    sleep_until(latest).await;
    assert_eq!(get(store, "shorter").await?, None);
    assert!(get(store, "longer").await?.is_some());
    Ok(())
}

/// What has expired is missing for conditions and deletes, and what is put there is new.
pub async fn what_has_expired_is_missing_for_writes(store: &dyn Store) -> Check {
    let (version, ..) = put_for(store, "a", 30).await?;
    for key in ["b", "c"] {
        write(store, short(key, 30)?).await?;
    }
    let (.., latest) = put_for(store, "d", 30).await?;
    sleep_until(latest).await;
    let wrong = Put { precondition: Precondition::Version(version), ..Put::new("a", "w") };
    let error = refused(write(store, wrong).await, ErrorKind::VersionMismatch)?;
    assert_eq!(error.version(FieldName::Actual), None);
    let created = write(store, Put { precondition: Precondition::NotExists, ..Put::new("b", "w") }).await?;
    assert!(!delete(store, "c").await?.deleted);
    let wrong = Delete { if_match: Some(later(version, 3)), ..Delete::new("d") };
    refused(remove(store, wrong).await, ErrorKind::VersionMismatch)?;
    let entry = get(store, "b").await?.ok_or("the key is not there")?;
    // A server of norikv.v1 alone tells neither the creation nor the generation.
    assert!(entry.create_version == created && entry.generation <= 1, "{entry:?}");
    // Four puts, four expiries and the one put since, in whatever order.
    reaches(store, later(version, 8), latest).await
}

/// The shortest and the longest time to live are taken.
pub async fn the_shortest_and_the_longest_ttl_are_taken(store: &dyn Store) -> Check {
    let (.., latest) = put_for(store, "short", 1).await?;
    let longest = u64::try_from(MAX_TTL.as_millis()).unwrap_or(u64::MAX);
    write(store, short("long", longest)?).await?;
    sleep_until(latest).await;
    assert_eq!(get(store, "short").await?, None);
    assert!(get(store, "long").await?.is_some());
    Ok(())
}

/// Many entries that expire at once are all gone at once, each in a revision of its own.
pub async fn many_entries_that_expire_together_take_a_revision_each(store: &dyn Store) -> Check {
    let writes: Vec<_> = (0..1_200).map(|n| short(format!("k{n}"), 400)).collect::<Check<_>>()?;
    let written = futures_util::future::join_all(writes.into_iter().map(|short| write(store, short))).await;
    let latest = Instant::now() + Duration::from_millis(400) + TICK;
    let versions = written.into_iter().collect::<Result<Vec<_>, _>>()?;
    let last = versions.iter().max().copied().ok_or("nothing was written")?;
    sleep_until(latest).await;
    assert_eq!(count(store, KeyRange::all(), None).await?, 0);
    // Those that were written early may have expired before the last was written.
    let first = versions.iter().min().copied().ok_or("nothing was written")?;
    assert!(last < later(first, 2_400));
    reaches(store, later(first, 2_399), latest).await
}
