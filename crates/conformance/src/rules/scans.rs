//! Scans and counts.

use bytes::Bytes;
use norikv_core::{KeyRange, Order, Scan, Store, Version};

use crate::{
    Check,
    ask::{self, count, delete, keys, page, put},
};

/// More than fit into one page.
const MANY: usize = 1_500;

fn numbered(n: usize) -> Bytes {
    format!("key {n:05}").into()
}

async fn fill(store: &dyn Store) -> Check {
    let writes = (0..MANY).map(|n| put(store, numbered(n), n.to_string()));
    for written in futures_util::future::join_all(writes).await {
        written?;
    }
    Ok(())
}

/// Keys sort as unsigned bytes.
pub async fn keys_sort_as_unsigned_bytes(store: &dyn Store) -> Check {
    let sorted: [&'static [u8]; 9] =
        [b"\0", b"\0\0", b"\x01", b"A", b"a", b"a\0", b"a\xff", b"\x80", b"\xff\xff"];
    for at in [4, 8, 0, 7, 2, 6, 1, 5, 3] {
        put(store, sorted[at], "v").await?;
    }
    let all = keys(store, Scan::new(KeyRange::all())).await?;
    assert_eq!(all, sorted.map(Bytes::from_static));
    let mut reversed = all;
    reversed.reverse();
    let down = Scan { order: Order::Descending, ..Scan::new(KeyRange::all()) };
    assert_eq!(keys(store, down).await?, reversed);
    Ok(())
}

/// A prefix takes the keys that begin with it and no other, also one that ends with bytes of 0xff.
pub async fn a_prefix_takes_the_keys_that_begin_with_it_also_one_of_0xff_bytes(store: &dyn Store) -> Check {
    let all: [&'static [u8]; 8] =
        [b"a", b"a\xfe", b"a\xff", b"a\xff\0", b"b", b"\xff", b"\xff\xff", b"\xff\xff\xff"];
    for key in all {
        put(store, key, "v").await?;
    }
    for prefix in [&b""[..], b"a", b"a\xff", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff", b"c"] {
        let expected: Vec<Bytes> =
            all.into_iter().filter(|key| key.starts_with(prefix)).map(Bytes::from_static).collect();
        let range = KeyRange::prefix(prefix);
        assert_eq!(count(store, range.clone(), None).await?, expected.len() as u64, "{prefix:?}");
        assert_eq!(keys(store, Scan::new(range.clone())).await?, expected, "{prefix:?}");
        let down = Scan { order: Order::Descending, ..Scan::new(range) };
        let mut reversed = keys(store, down).await?;
        reversed.reverse();
        assert_eq!(reversed, expected, "{prefix:?} downwards");
    }
    Ok(())
}

/// A range goes from its start up to, and without, its end; one that ends where it starts is empty.
pub async fn a_range_goes_from_its_start_up_to_and_without_its_end(store: &dyn Store) -> Check {
    for key in ["a", "b", "b\0", "c", "d"] {
        put(store, key, "v").await?;
    }
    let between = |start: &'static str, end: &'static str| KeyRange {
        start: start.into(),
        end: Some(Bytes::from_static(end.as_bytes())),
    };
    let expected: [(KeyRange, &[&'static str]); 5] = [
        (between("b", "c"), &["b", "b\0"]),
        (between("b\0", "d"), &["b\0", "c"]),
        (between("b", "b"), &[]),
        (between("aa", "ab"), &[]),
        (KeyRange { start: "c".into(), end: None }, &["c", "d"]),
    ];
    for (range, expected) in expected {
        assert_eq!(keys(store, Scan::new(range.clone())).await?, expected, "{range:?}");
        assert_eq!(count(store, range, None).await?, expected.len() as u64);
    }
    Ok(())
}

/// A scan of nothing is an empty page that says that there is no more.
pub async fn a_scan_of_nothing_is_an_empty_page(store: &dyn Store) -> Check {
    let version = put(store, "k", "v").await?;
    for order in [Order::Ascending, Order::Descending] {
        let page = page(store, Scan { order, ..Scan::new(KeyRange::prefix("z")) }).await?;
        assert_eq!((page.entries, page.more, page.version), (Vec::new(), false, version));
    }
    assert_eq!(count(store, KeyRange::prefix("z"), None).await?, 0);
    Ok(())
}

/// A limit is the number of entries, from whichever end the scan begins.
pub async fn a_limit_is_the_number_of_entries(store: &dyn Store) -> Check {
    for key in ["a", "b", "c", "d"] {
        put(store, key, "v").await?;
    }
    for (limit, expected) in [(1, &["a"][..]), (3, &["a", "b", "c"]), (4, &["a", "b", "c", "d"])] {
        assert_eq!(keys(store, Scan { limit, ..Scan::new(KeyRange::all()) }).await?, expected);
    }
    for limit in [0, 5, u64::MAX] {
        assert_eq!(keys(store, Scan { limit, ..Scan::new(KeyRange::all()) }).await?.len(), 4);
    }
    let down = Scan { limit: 2, order: Order::Descending, ..Scan::new(KeyRange::all()) };
    assert_eq!(keys(store, down).await?, ["d", "c"]);
    let first = page(store, Scan { limit: 2, ..Scan::new(KeyRange::all()) }).await?;
    assert_eq!((first.entries.len(), first.more), (2, true));
    Ok(())
}

/// A limit holds across pages.
pub async fn a_limit_holds_across_pages(store: &dyn Store) -> Check {
    fill(store).await?;
    for order in [Order::Ascending, Order::Descending] {
        for limit in [MANY as u64 - 1, MANY as u64, MANY as u64 + 1] {
            let found = keys(store, Scan { limit, order, ..Scan::new(KeyRange::all()) }).await?;
            let expected = (MANY as u64).min(limit);
            assert_eq!(found.len() as u64, expected);
            let first = if order == Order::Ascending { numbered(0) } else { numbered(MANY - 1) };
            assert_eq!(found[0], first);
        }
    }
    Ok(())
}

/// A scan of keys only leaves the values out and nothing else.
pub async fn a_scan_of_keys_only_leaves_out_the_values_and_nothing_else(store: &dyn Store) -> Check {
    put(store, "a", vec![1; 100_000]).await?;
    put(store, "b", "2").await?;
    put(store, "b", "3").await?;
    let (mut full, _) = ask::scan(store, Scan::new(KeyRange::all())).await?;
    let bare = Scan { keys_only: true, ..Scan::new(KeyRange::all()) };
    let (bare, _) = ask::scan(store, bare).await?;
    full.iter_mut().for_each(|entry| entry.value = Bytes::new());
    assert_eq!(bare, full);
    Ok(())
}

/// Every page of a scan is of the first page's version, whatever is written between them, in both directions.
pub async fn every_page_of_a_scan_is_of_one_snapshot(store: &dyn Store) -> Check {
    fill(store).await?;
    for order in [Order::Ascending, Order::Descending] {
        let scan = Scan { order, ..Scan::new(KeyRange::all()) };
        let (expected, version) = ask::scan(store, scan.clone()).await?;
        assert_eq!(expected.len(), MANY);
        let first = page(store, scan.clone()).await?;
        assert_eq!((first.version, first.more), (version, true));
        let mut found = first.entries.clone();
        let mut next = scan.next(&first);
        while let Some(scan) = next {
            // What the next page is about to read changes, goes and comes.
            for n in [MANY / 2, MANY - 1, 0] {
                put(store, numbered(n), "changed").await?;
            }
            delete(store, numbered(MANY / 2 + 100)).await?;
            put(store, format!("key {:05} and more", MANY / 2), "new").await?;
            let page = page(store, scan.clone()).await?;
            assert_eq!(page.version, version);
            next = scan.next(&page);
            found.extend(page.entries);
        }
        assert_eq!(found, expected);
        assert_eq!(count(store, KeyRange::all(), Some(version)).await?, MANY as u64);
        put(store, numbered(MANY / 2 + 100), "back").await?;
        delete(store, format!("key {:05} and more", MANY / 2)).await?;
    }
    Ok(())
}

/// Scans see whole writes while others write: every key once, in order, at a version that is there.
pub async fn a_scan_under_concurrent_writes_sees_one_version(store: &dyn Store) -> Check {
    let keys: Vec<Bytes> = (0..50).map(numbered).collect();
    for key in &keys {
        put(store, key.clone(), "0").await?;
    }
    let done = std::cell::Cell::new(false);
    let write = async {
        for n in 1..=20 {
            for key in &keys {
                put(store, key.clone(), n.to_string()).await?;
            }
        }
        done.set(true);
        Check::Ok(())
    };
    let read = async {
        let mut latest = Version::ZERO;
        while !done.get() {
            // A read that is answered at once would never let the writes go on.
            tokio::task::yield_now().await;
            // Every key is written in turn, so at any version the values are a step: n, …, n, n-1, …, n-1.
            let (found, version) = ask::scan(store, Scan::new(KeyRange::all())).await?;
            assert!(version >= latest, "{version} after {latest}");
            latest = version;
            let values: Vec<i64> = found
                .iter()
                .filter_map(|entry| std::str::from_utf8(&entry.value).ok()?.parse().ok())
                .collect();
            assert_eq!(values.len(), keys.len());
            assert!(values.is_sorted_by(|a, b| a >= b) && values[0] - values[49] <= 1, "{values:?}");
            assert_eq!(found.iter().map(|entry| entry.version).max(), Some(version));
        }
        Check::Ok(())
    };
    let (write, read) = tokio::join!(write, read);
    write.and(read)
}

/// Values too large for one page come in several, with at least one entry in each.
pub async fn large_values_come_in_several_pages(store: &dyn Store) -> Check {
    for key in ["a", "b", "c", "d"] {
        put(store, key, vec![key.as_bytes()[0]; 1024 * 1024]).await?;
    }
    for order in [Order::Ascending, Order::Descending] {
        let (found, _) = ask::scan(store, Scan { order, ..Scan::new(KeyRange::all()) }).await?;
        assert_eq!(found.len(), 4);
        for entry in found {
            assert!(entry.value.len() == 1024 * 1024 && entry.value[0] == entry.key[0]);
        }
    }
    Ok(())
}
