//! Deletes of a range.

use bytes::Bytes;
use norikv_core::{DeleteRange, DeleteRangeResult, ErrorKind, KeyRange, Result, Scan, Store};

use crate::{
    Check,
    ask::{self, call, count, get, later, newest, put, within},
    refused,
};

async fn delete_range(store: &dyn Store, range: KeyRange) -> Result<DeleteRangeResult> {
    within(call(), store.delete_range(DeleteRange { range }, call())).await
}

/// A range delete answers how many keys went, and takes one revision for all of them.
pub async fn a_range_delete_answers_how_many_and_takes_one_revision(store: &dyn Store) -> Check {
    let mut last = put(store, "a", "v").await?;
    for n in 0..200 {
        last = put(store, format!("b{n:03}"), "v").await?;
    }
    let deleted = delete_range(store, KeyRange::prefix("b")).await?;
    assert_eq!((deleted.deleted, deleted.version), (200, later(last, 1)));
    assert_eq!(ask::keys(store, Scan::new(KeyRange::all())).await?, [Bytes::from("a")]);
    assert_eq!(get(store, "b000").await?, None);
    assert_eq!(put(store, "b000", "v").await?, later(last, 2));
    let entry = get(store, "b000").await?.ok_or("the key is not there")?;
    assert_eq!((entry.generation, entry.create_version), (1, later(last, 2)));
    Ok(())
}

/// A range delete of nothing takes no revision.
pub async fn a_range_delete_of_nothing_takes_no_revision(store: &dyn Store) -> Check {
    let before = put(store, "m", "v").await?;
    let empty = KeyRange { start: "m".into(), end: Some("m".into()) };
    for range in [KeyRange::prefix("z"), empty, KeyRange::prefix("m\0")] {
        let deleted = delete_range(store, range).await?;
        assert_eq!((deleted.deleted, deleted.version), (0, before));
    }
    assert_eq!(newest(store).await?, before);
    Ok(())
}

/// A range goes from its start up to, and without, its end.
pub async fn a_range_delete_takes_its_start_and_leaves_its_end(store: &dyn Store) -> Check {
    for key in ["a", "b", "b\0", "c", "c\0"] {
        put(store, key, "v").await?;
    }
    let range = KeyRange::new("b".into(), Some("c".into()))?;
    assert_eq!(delete_range(store, range).await?.deleted, 2);
    let left: [Bytes; 3] = ["a".into(), "c".into(), "c\0".into()];
    assert_eq!(ask::keys(store, Scan::new(KeyRange::all())).await?, left);
    Ok(())
}

/// A range that ends before it starts, or has a bound no key could have, is refused and changes nothing.
pub async fn a_wrong_range_is_refused_and_changes_nothing(store: &dyn Store) -> Check {
    let before = put(store, "b", "v").await?;
    let backwards = KeyRange { start: "c".into(), end: Some("a".into()) };
    let long = KeyRange { start: vec![b'a'; 1_026].into(), end: None };
    for range in [backwards, long] {
        refused(delete_range(store, range.clone()).await, ErrorKind::InvalidArgument)?;
        refused(ask::page(store, Scan::new(range.clone())).await, ErrorKind::InvalidArgument)?;
        refused(count(store, range, None).await, ErrorKind::InvalidArgument)?;
    }
    assert_eq!(newest(store).await?, before);
    Ok(())
}
