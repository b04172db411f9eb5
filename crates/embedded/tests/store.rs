//! The model's rules that touch the embedded store in a way of its own, in memory and on disk.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{both, bytes, call, settings};
use norikv_core::{
    Consistency, Count, Delete, DeleteRange, Entry, ErrorKind, FieldName, Get, GetMany, KeyRange, Order,
    Precondition, Put, Scan, Store, Ttl, Version,
};
use norikv_embedded::{EmbeddedStore, Settings};

async fn get(store: &EmbeddedStore, key: &str) -> Option<Entry> {
    store.get(Get { key: bytes(key), consistency: Consistency::Lease }, call()).await.unwrap()
}

async fn put(store: &EmbeddedStore, key: &str, value: &str) -> Version {
    store.put(Put::new(bytes(key), bytes(value)), call()).await.unwrap().version
}

async fn keys_at(store: &EmbeddedStore, version: Option<Version>, order: Order) -> Vec<(String, String)> {
    let mut scan = Scan { version, order, ..Scan::new(KeyRange::all()) };
    let mut all = Vec::new();
    loop {
        let page = store.scan(scan.clone(), call()).await.unwrap();
        all.extend(page.entries.iter().map(|entry| {
            (
                String::from_utf8_lossy(&entry.key).into_owned(),
                String::from_utf8_lossy(&entry.value).into_owned(),
            )
        }));
        match scan.next(&page) {
            Some(next) => scan = next,
            None => return all,
        }
    }
}

#[tokio::test]
async fn an_empty_store_is_at_revision_1_and_every_change_adds_1() {
    for (store, _directory) in both(settings()) {
        let status = store.status(call()).await.unwrap();
        assert_eq!(status.version, Version::new(1, 1));
        assert_eq!(put(&store, "a", "1").await, Version::new(1, 2));
        assert_eq!(put(&store, "a", "2").await, Version::new(1, 3));
        let entry = get(&store, "a").await.unwrap();
        assert_eq!((entry.value.as_ref(), entry.generation), (&b"2"[..], 2));
        assert_eq!(entry.create_version, Version::new(1, 2));
        let gone = store.delete(Delete::new("nothing"), call()).await.unwrap();
        assert_eq!((gone.deleted, gone.version), (false, Version::new(1, 3)));
        let gone = store.delete(Delete::new("a"), call()).await.unwrap();
        assert_eq!((gone.deleted, gone.version), (true, Version::new(1, 4)));
        assert_eq!(get(&store, "a").await, None);
        assert_eq!(put(&store, "a", "3").await, Version::new(1, 5));
        let entry = get(&store, "a").await.unwrap();
        assert_eq!((entry.generation, entry.create_version), (1, Version::new(1, 5)));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn refused_writes_take_no_revision_and_say_what_they_found() {
    for (store, _directory) in both(settings()) {
        let version = put(&store, "k", "1").await;
        let twice = Put { precondition: Precondition::NotExists, ..Put::new("k", "2") };
        let error = store.put(twice, call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.version(FieldName::Actual), Some(version));
        let wrong = Precondition::Version(Version::new(1, 99));
        let error = store.put(Put { precondition: wrong, ..Put::new("k", "2") }, call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VersionMismatch);
        assert_eq!(error.version(FieldName::Actual), Some(version));
        let missing = Delete { if_match: Some(version), ..Delete::new("other") };
        let error = store.delete(missing, call()).await.unwrap_err();
        assert_eq!((error.kind(), error.version(FieldName::Actual)), (ErrorKind::VersionMismatch, None));
        // A version of another incarnation never matches.
        let other = Precondition::Version(Version::new(2, version.index));
        assert!(store.put(Put { precondition: other, ..Put::new("k", "2") }, call()).await.is_err());
        assert_eq!(put(&store, "k", "2").await, Version::new(1, version.index + 1));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_changes() {
    for (store, _directory) in both(Settings { max_value_bytes: 4, ..settings() }) {
        for put in [
            Put::new("", "v"),
            Put::new(vec![b'k'; 1_025], "v"),
            Put::new("k", "12345"),
            Put { idempotency_key: Some(String::new()), ..Put::new("k", "v") },
        ] {
            let error = store.put(put, call()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        let future = Some(Version::new(1, 2));
        let scan = Scan { version: future, ..Scan::new(KeyRange::all()) };
        assert_eq!(store.scan(scan, call()).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let other_term = Count { version: Some(Version::new(0, 1)), ..Count::default() };
        assert_eq!(store.count(other_term, call()).await.unwrap_err().kind(), ErrorKind::Compacted);
        assert_eq!(store.status(call()).await.unwrap().version, Version::new(1, 1));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_read_called_after_a_write_of_the_same_key_sees_it() {
    for (store, _directory) in both(settings()) {
        for n in 0..50 {
            let value = n.to_string();
            let write = store.put(Put::new("k", bytes(&value)), call());
            let read = store.get(Get { key: bytes("k"), consistency: Consistency::StaleOk }, call());
            let later = store.put(Put::new("k", "later"), call());
            let (_, entry, _) = tokio::join!(write, read, later);
            assert_eq!(entry.unwrap().unwrap().value, value);
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_scan_goes_both_ways_page_by_page_at_the_version_of_its_first_page() {
    for (store, _directory) in both(settings()) {
        for n in 0..2_500 {
            put(&store, &format!("k{n:05}"), "old").await;
        }
        for order in [Order::Ascending, Order::Descending] {
            let scan = Scan { order, ..Scan::new(KeyRange::prefix("k")) };
            let first = store.scan(scan.clone(), call()).await.unwrap();
            assert_eq!(first.entries.len(), 1_024);
            // Changes after the first page, all over the range.
            for n in (0..2_500).step_by(50) {
                put(&store, &format!("k{n:05}"), "new").await;
                store.delete(Delete::new(bytes(&format!("k{:05}", n + 1))), call()).await.unwrap();
                put(&store, &format!("k{n:05}x"), "new").await;
            }
            let mut entries = first.entries.clone();
            let mut next = scan.next(&first);
            while let Some(scan) = next {
                let page = store.scan(scan.clone(), call()).await.unwrap();
                next = scan.next(&page);
                entries.extend(page.entries);
            }
            assert_eq!(entries.len(), 2_500);
            assert!(entries.iter().all(|entry| entry.value == "old"));
            let ascending = entries.is_sorted_by(|a, b| a.key < b.key);
            let descending = entries.is_sorted_by(|a, b| a.key > b.key);
            assert_eq!((ascending, descending), (order == Order::Ascending, order == Order::Descending));
            let count = store.count(Count { version: Some(first.version), ..Count::default() }, call());
            assert_eq!(count.await.unwrap().count, 2_500);
            // Back to where it was for the other way.
            store.delete_range(DeleteRange { range: KeyRange::all() }, call()).await.unwrap();
            for n in 0..2_500 {
                put(&store, &format!("k{n:05}"), "old").await;
            }
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn limits_pages_and_keys_only() {
    for (store, _directory) in both(settings()) {
        for n in 0..10 {
            put(&store, &format!("{n}"), "value").await;
        }
        let scan = Scan { limit: 4, keys_only: true, ..Scan::new(KeyRange::all()) };
        let page = store.scan(scan.clone(), call()).await.unwrap();
        assert_eq!((page.entries.len(), page.more), (4, true));
        assert!(page.entries.iter().all(|entry| entry.value.is_empty()));
        assert!(scan.next(&page).is_none());
        let whole = store.scan(Scan { limit: 10, ..scan }, call()).await.unwrap();
        assert!(!whole.more);
        // A page ends at about a megabyte, and never before its first entry.
        let big = vec![b'x'; 700 * 1024];
        for key in ["x", "y", "z"] {
            store.put(Put::new(key, big.clone()), call()).await.unwrap();
        }
        let page = store.scan(Scan::new(KeyRange::prefix("x")), call()).await.unwrap();
        assert_eq!(page.entries.len(), 1);
        let page = store.scan(Scan::new(KeyRange::new(bytes("x"), None).unwrap()), call()).await.unwrap();
        assert_eq!((page.entries.len(), page.more), (1, true));
        let many = GetMany {
            keys: vec![bytes("1"), bytes("none"), bytes("1")],
            consistency: Consistency::Linearizable,
        };
        let found = store.get_many(many, call()).await.unwrap();
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn many_keys_are_read_up_to_a_number_and_a_size() {
    for (store, _directory) in both(settings()) {
        let many = |keys| store.get_many(GetMany { keys, consistency: Consistency::Lease }, call());
        let error = many(vec![bytes("none"); 10_001]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("10000"), "{error}");
        assert_eq!(many(vec![bytes("none"); 10_000]).await.unwrap().len(), 10_000);
        store.put(Put::new("big", vec![7; 1 << 20]), call()).await.unwrap();
        assert_eq!(many(vec![bytes("big"); 63]).await.unwrap().len(), 63);
        let error = many(vec![bytes("big"); 64]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.message().contains("67108864"), "{error}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_range_delete_is_one_revision_and_can_be_read_around() {
    for (store, _directory) in both(settings()) {
        for key in ["a1", "a2", "b1"] {
            put(&store, key, "v").await;
        }
        let delete = DeleteRange { range: KeyRange::prefix("a") };
        let result = store.delete_range(delete.clone(), call()).await.unwrap();
        assert_eq!((result.deleted, result.version), (2, Version::new(1, 5)));
        let again = store.delete_range(delete, call()).await.unwrap();
        assert_eq!((again.deleted, again.version), (0, Version::new(1, 5)));
        let now = keys_at(&store, None, Order::Ascending).await;
        assert_eq!(now.len(), 1);
        let before = keys_at(&store, Some(Version::new(1, 4)), Order::Descending).await;
        assert_eq!(before.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b1", "a2", "a1"]);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_expired_entry_is_gone_at_once_and_its_delete_has_its_own_revision() {
    for (store, _directory) in both(settings()) {
        let ttl = Ttl::from_millis(40).ok();
        store.put(Put { ttl, ..Put::new("k", "v") }, call()).await.unwrap();
        let expires_at = get(&store, "k").await.unwrap().expires_at.unwrap();
        // A put without one clears it.
        store.put(Put { ttl, ..Put::new("stays", "v") }, call()).await.unwrap();
        let cleared = put(&store, "stays", "w").await;
        // The sweeper's own delete is the event to wait for.
        let wait = async {
            while store.status(call()).await.unwrap().version == cleared {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let late = u64::try_from(now.as_millis()).unwrap().saturating_sub(expires_at);
        assert!(late < 500, "swept {late} ms after its time");
        assert_eq!(get(&store, "k").await, None);
        assert!(get(&store, "stays").await.unwrap().expires_at.is_none());
        assert_eq!(store.status(call()).await.unwrap().version, Version::new(1, cleared.index + 1));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_expired_entry_is_gone_for_a_read_at_an_old_version_too() {
    for (store, _directory) in both(settings()) {
        let ttl = Ttl::from_millis(300).ok();
        put(&store, "a", "v").await;
        store.put(Put { ttl, ..Put::new("k", "v") }, call()).await.unwrap();
        put(&store, "z", "v").await;
        let scan = Scan::new(KeyRange::all());
        let first = store.scan(Scan { limit: 1, ..scan.clone() }, call()).await.unwrap();
        // Replaced later, it comes from the history; not replaced, from the entries, until it is swept.
        put(&store, "k", "w").await;
        tokio::time::sleep(Duration::from_millis(350)).await;
        for order in [Order::Ascending, Order::Descending] {
            let keys = keys_at(&store, Some(first.version), order).await;
            assert_eq!(keys.len(), 2, "{keys:?}");
            assert!(keys.iter().all(|(key, _)| key != "k"), "{keys:?}");
        }
        let count = Count { version: Some(first.version), ..Count::default() };
        assert_eq!(store.count(count, call()).await.unwrap().count, 2);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_write_with_an_idempotency_key_happens_once() {
    for (store, _directory) in both(settings()) {
        let key = Some("once".to_owned());
        let write = Put { idempotency_key: key.clone(), ..Put::new("k", "v") };
        let first = store.put(write.clone(), call()).await.unwrap();
        put(&store, "k", "other").await;
        let again = store.put(write, call()).await.unwrap();
        assert_eq!(again.version, first.version);
        assert_eq!(get(&store, "k").await.unwrap().value, "other");
        for wrong in [Put::new("k", "w"), Put::new("l", "v")] {
            let error = store.put(Put { idempotency_key: key.clone(), ..wrong }, call()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        let delete = Delete { idempotency_key: Some("gone".into()), ..Delete::new("k") };
        assert!(store.delete(delete.clone(), call()).await.unwrap().deleted);
        assert!(store.delete(delete, call()).await.unwrap().deleted);
        // A refused write records nothing.
        put(&store, "k", "v").await;
        let refused = Put {
            idempotency_key: Some("refused".into()),
            precondition: Precondition::NotExists,
            ..Put::new("k", "v")
        };
        assert!(store.put(refused.clone(), call()).await.is_err());
        store.delete(Delete::new("k"), call()).await.unwrap();
        assert!(store.put(refused, call()).await.is_ok());
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_idempotency_record_is_forgotten_after_its_window() {
    let window = Duration::from_millis(30);
    for (store, _directory) in both(Settings { idempotency_window: window, ..settings() }) {
        let write = Put { idempotency_key: Some("i".into()), ..Put::new("k", "v") };
        let first = store.put(write.clone(), call()).await.unwrap().version;
        let wait = async {
            while store.put(write.clone(), call()).await.unwrap().version == first {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_incrementing_one_counter_lose_nothing() {
    for (store, _directory) in both(settings()) {
        let store = Arc::new(store);
        put(&store, "n", "0").await;
        let rounds = 50;
        let tasks = (0..64).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut done = 0;
                while done < rounds {
                    let entry = get(&store, "n").await.unwrap();
                    let next = std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap() + 1;
                    let put = Put {
                        precondition: Precondition::Version(entry.version),
                        ..Put::new("n", next.to_string())
                    };
                    match store.put(put, call()).await {
                        Ok(_) => done += 1,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::VersionMismatch),
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(get(&store, "n").await.unwrap().value, (64 * rounds).to_string());
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_callers_that_race_to_create_a_key_one_wins() {
    for (store, _directory) in both(settings()) {
        let store = Arc::new(store);
        for round in 0..30 {
            let tasks = (0..64).map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let put = Put {
                        precondition: Precondition::NotExists,
                        ..Put::new(format!("r{round}"), format!("{n}"))
                    };
                    store.put(put, call()).await.is_ok()
                })
            });
            let mut winners = 0;
            for task in tasks.collect::<Vec<_>>() {
                winners += u32::from(task.await.unwrap());
            }
            assert_eq!(winners, 1);
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_lets_writes_in_one_after_the_other_in_their_order() {
    let narrow = Settings { queue_writes: 2, queue_bytes: 64, ..settings() };
    for (store, _directory) in both(narrow) {
        let writes = (0..200).map(|n| store.put(Put::new("k", format!("{n:0100}")), call()));
        let results = futures_util::future::join_all(writes).await;
        let versions: Vec<_> = results.into_iter().map(|result| result.unwrap().version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_write_that_was_not_begun_is_let_go_of_and_reads_do_not_wait_for_it() {
    for (store, _directory) in both(settings()) {
        for _ in 0..100 {
            let mut write = Box::pin(store.put(Put::new("k", "v"), call()));
            let _ = futures_util::poll!(&mut write);
            drop(write);
        }
        let _ = get(&store, "k").await;
        assert!(store.get_now(b"k", Consistency::Lease).is_some());
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_store_says_so_and_closing_twice_is_closing_once() {
    for (store, _directory) in both(settings()) {
        // A caller that is waited for by nobody does not hold close up.
        let mut waiting = store.put(Put::new("k", "v"), call());
        let polled = futures_util::poll!(&mut waiting);
        store.close().await.unwrap();
        store.close().await.unwrap();
        match polled {
            std::task::Poll::Ready(result) => result.unwrap(),
            std::task::Poll::Pending => waiting.await.unwrap(),
        };
        let closed = |error: norikv_core::Error| assert_eq!(error.kind(), ErrorKind::Closed);
        closed(store.put(Put::new("k", "v"), call()).await.unwrap_err());
        closed(store.get_now(b"k", Consistency::Lease).unwrap().unwrap_err());
        closed(store.scan(Scan::new(KeyRange::all()), call()).await.unwrap_err());
        closed(store.status(call()).await.unwrap_err());
    }
}
