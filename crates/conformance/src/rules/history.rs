//! Reading at old versions.

use bytes::Bytes;
use norikv_core::{DeleteRange, ErrorKind, FieldName, KeyRange, Order, Scan, Store, Version};

use crate::{
    Check, Setup, World,
    ask::{self, call, count, delete, later, newest, put, within},
    refused,
};

fn at(version: Version) -> Scan {
    Scan { version: Some(version), ..Scan::new(KeyRange::all()) }
}

async fn values(store: &dyn Store, scan: Scan) -> Check<Vec<(Bytes, Bytes)>> {
    Ok(ask::scan(store, scan).await?.0.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

/// A scan and a count at an old version answer what was there then.
pub async fn a_read_at_an_old_version_answers_what_was_there_then(store: &dyn Store) -> Check {
    let empty = newest(store).await?;
    let one = put(store, "a", "1").await?;
    let two = put(store, "b", "1").await?;
    let three = put(store, "a", "2").await?;
    let four = delete(store, "a").await?.version;
    let five = put(store, "a", "3").await?;
    let range = KeyRange::all();
    let six = within(call(), store.delete_range(DeleteRange { range }, call())).await?.version;
    put(store, "c", "1").await?;

    let expected: [(Version, &[(&'static str, &'static str)]); 7] = [
        (empty, &[]),
        (one, &[("a", "1")]),
        (two, &[("a", "1"), ("b", "1")]),
        (three, &[("a", "2"), ("b", "1")]),
        (four, &[("b", "1")]),
        (five, &[("a", "3"), ("b", "1")]),
        (six, &[]),
    ];
    for (version, expected) in expected {
        let mut expected: Vec<(Bytes, Bytes)> =
            expected.iter().map(|(key, value)| (Bytes::from(*key), Bytes::from(*value))).collect();
        assert_eq!(values(store, at(version)).await?, expected, "at {version}");
        assert_eq!(count(store, KeyRange::all(), Some(version)).await?, expected.len() as u64);
        expected.reverse();
        let down = Scan { order: Order::Descending, ..at(version) };
        assert_eq!(values(store, down).await?, expected, "downwards at {version}");
        let page = ask::page(store, at(version)).await?;
        assert_eq!(page.version, version);
    }
    Ok(())
}

/// An old entry has the fields that it had.
pub async fn an_old_entry_has_the_fields_that_it_had(store: &dyn Store) -> Check {
    let mut seen = Vec::new();
    for n in 0..20 {
        if n % 7 == 6 {
            delete(store, "k").await?;
        }
        let version = put(store, "k", n.to_string()).await?;
        seen.push((version, ask::get(store, "k").await?.ok_or("the key is not there")?));
    }
    for (version, entry) in seen {
        assert_eq!(ask::scan(store, at(version)).await?.0, [entry]);
    }
    Ok(())
}

/// A version in the future, or of a later term, is refused.
pub async fn a_version_in_the_future_is_refused(store: &dyn Store) -> Check {
    let version = put(store, "k", "v").await?;
    for future in [later(version, 1), Version::new(version.term + 1, 1), Version::new(u64::MAX, u64::MAX)] {
        refused(ask::page(store, at(future)).await, ErrorKind::InvalidArgument)?;
        refused(count(store, KeyRange::all(), Some(future)).await, ErrorKind::InvalidArgument)?;
    }
    Ok(())
}

/// Below the compaction floor a read fails with the floor; at and above it, it answers.
pub async fn below_the_compaction_floor_a_read_fails_with_the_floor(world: &dyn World) -> Check {
    let setup = Setup { history_revisions: Some(20), ..Setup::default() };
    let fixture = world.open(setup).await?;
    let store = &*fixture.store;
    let first = put(store, "k", "0").await?;
    assert_eq!(values(store, at(first)).await?, [(Bytes::from("k"), Bytes::from("0"))]);
    for n in 1..=100 {
        put(store, "k", n.to_string()).await?;
    }
    let begun = std::time::Instant::now();
    let error = loop {
        match ask::page(store, at(first)).await {
            Ok(_) if begun.elapsed() < call().timeout() => put(store, "k", "100").await?,
            result => break refused(result, ErrorKind::Compacted)?,
        };
    };
    let floor = error.version(FieldName::CompactVersion).ok_or("the error has no compactVersion")?;
    let newest = newest(store).await?;
    assert!(first < floor && floor < newest, "{first} < {floor} < {newest}");
    refused(count(store, KeyRange::all(), Some(first)).await, ErrorKind::Compacted)?;

    // What is kept can be read, and is what it was. The floor may still be on its way up, to what has to be kept.
    let status = within(call(), store.status(call())).await?;
    assert!(status.sizes.compact_version >= floor, "{status:?}");
    for index in status.sizes.compact_version.index..=newest.index {
        let version = Version::new(newest.term, index);
        match ask::scan(store, at(version)).await {
            Ok((entries, _)) => {
                let expected = (index - first.index).min(100).to_string();
                assert!(entries.len() == 1 && entries[0].value == expected, "{entries:?} at {version}");
            }
            Err(error) => {
                assert!(error.version(FieldName::CompactVersion) > Some(version), "{error:?}");
                assert!(index + 20 < newest.index, "{version} is gone, and {newest} is the newest");
            }
        }
    }
    assert_eq!(ask::value(store, "k").await?, Some("100".into()));
    Ok(fixture.owner.close().await?)
}
