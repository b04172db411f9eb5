//! Transactions: what the embedded store does within one.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{both, bytes, call, settings};
use norikv_core::{
    Compare, CompareOp, CompareTarget, Consistency, Delete, DeleteRange, Entry, ErrorKind, Get, KeyRange,
    Order, Precondition, Put, Scan, Store, Ttl, Txn, TxnOp, TxnOpResult, Version,
};
use norikv_embedded::EmbeddedStore;

fn put(key: &str, value: &str) -> TxnOp {
    TxnOp::Put(Put::new(bytes(key), bytes(value)))
}

fn get(key: &str) -> TxnOp {
    TxnOp::Get(Get { key: bytes(key), consistency: Consistency::Lease })
}

fn exists(key: &str, exists: bool) -> Compare {
    Compare { key: bytes(key), op: CompareOp::Equal, target: CompareTarget::Exists(exists) }
}

fn then(ops: Vec<TxnOp>) -> Txn {
    Txn { then: ops, ..Txn::default() }
}

async fn value(store: &EmbeddedStore, key: &str) -> Option<String> {
    let entry = store.get(Get { key: bytes(key), consistency: Consistency::Lease }, call()).await.unwrap();
    entry.map(|entry| text(&entry))
}

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.value.to_vec()).unwrap()
}

#[tokio::test]
async fn reads_within_a_transaction_see_the_writes_before_them() {
    for (store, _directory) in both(settings()) {
        for key in ["a1", "a2", "a3", "b"] {
            store.put(Put::new(bytes(key), "old"), call()).await.unwrap();
        }
        let scan = |order, limit| TxnOp::Scan(Scan { order, limit, ..Scan::new(KeyRange::prefix("a")) });
        let result = store
            .txn(
                then(vec![
                    scan(Order::Ascending, 0),
                    put("a2", "new"),
                    TxnOp::Delete(Delete::new("a1")),
                    put("a0", "new"),
                    get("a1"),
                    get("a2"),
                    scan(Order::Descending, 2),
                    TxnOp::DeleteRange(DeleteRange { range: KeyRange::single(&bytes("b")) }),
                    scan(Order::Ascending, 0),
                    get("b"),
                ]),
                call(),
            )
            .await
            .unwrap();
        assert_eq!(result.version, Version::new(1, 6));
        let seen: Vec<String> = result
            .results
            .iter()
            .map(|result| match result {
                TxnOpResult::Get(entry) => entry.as_ref().map_or("-".into(), text),
                TxnOpResult::Scan(page) => {
                    let shown = page
                        .entries
                        .iter()
                        .map(|entry| format!("{}={}", String::from_utf8_lossy(&entry.key), text(entry)));
                    format!("{}{}", shown.collect::<Vec<_>>().join(" "), if page.more { " …" } else { "" })
                }
                TxnOpResult::Put(put) => format!("put {}", put.version),
                TxnOpResult::Delete(delete) => format!("deleted {}", delete.deleted),
                TxnOpResult::DeleteRange(delete) => format!("deleted {}", delete.deleted),
            })
            .collect();
        assert_eq!(
            seen,
            [
                "a1=old a2=old a3=old",
                "put 1.6",
                "deleted true",
                "put 1.6",
                "-",
                "new",
                "a3=old a2=new …",
                "deleted 1",
                "a0=new a2=new a3=old",
                "-"
            ]
        );
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_condition_of_an_op_that_does_not_hold_leaves_everything_as_it_was() {
    for (store, _directory) in both(settings()) {
        store.put(Put::new("k", "v"), call()).await.unwrap();
        let absent = Put { precondition: Precondition::NotExists, ..Put::new("k", "x") };
        let matched = Delete { if_match: Some(Version::new(1, 9)), ..Delete::new("k") };
        for (op, kind) in [
            (TxnOp::Put(absent), ErrorKind::AlreadyExists),
            (TxnOp::Delete(matched), ErrorKind::VersionMismatch),
        ] {
            let error = store.txn(then(vec![put("a", "1"), op]), call()).await.unwrap_err();
            assert_eq!(error.kind(), kind);
        }
        assert_eq!(value(&store, "a").await, None);
        assert_eq!(store.status(call()).await.unwrap().version, Version::new(1, 2));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_op_with_an_idempotency_key_happens_once() {
    for (store, _directory) in both(settings()) {
        let once = || Put { idempotency_key: Some("once".into()), ..Put::new("k", "v") };
        let first = store.txn(then(vec![TxnOp::Put(once()), put("n", "1")]), call()).await.unwrap();
        let again = store.txn(then(vec![TxnOp::Put(once()), put("n", "2")]), call()).await.unwrap();
        assert_eq!(again.results[0], first.results[0]);
        assert_eq!(value(&store, "n").await.as_deref(), Some("2"));
        assert_eq!(store.put(once(), call()).await.unwrap().version, first.version);
        let other = Put { value: bytes("other"), ..once() };
        let error = store.txn(then(vec![put("n", "3"), TxnOp::Put(other)]), call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(value(&store, "n").await.as_deref(), Some("2"));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_has_expired_is_missing_and_its_expiry_comes_before_the_transaction() {
    for (store, _directory) in both(settings()) {
        let ttl = Ttl::from_millis(1).ok();
        store.put(Put { ttl, ..Put::new("k", "v") }, call()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let txn = Txn { compares: vec![exists("k", false)], ..then(vec![put("k", "new"), get("k")]) };
        let result = store.txn(txn, call()).await.unwrap();
        assert!(result.succeeded);
        assert_eq!(result.version, Version::new(1, 4));
        let TxnOpResult::Get(Some(entry)) = &result.results[1] else { unreachable!("it is there") };
        assert_eq!((entry.generation, entry.create_version), (1, result.version));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_changes_nothing_takes_no_revision() {
    for (store, _directory) in both(settings()) {
        let version = store.put(Put::new("k", "v"), call()).await.unwrap().version;
        let nothing = vec![
            TxnOp::Delete(Delete::new("none")),
            TxnOp::DeleteRange(DeleteRange { range: KeyRange::prefix("nothing") }),
            TxnOp::Scan(Scan::new(KeyRange::all())),
        ];
        for ops in [Vec::new(), vec![get("k")], nothing] {
            let result = store.txn(then(ops), call()).await.unwrap();
            assert_eq!(result.version, version);
            for result in result.results {
                match result {
                    TxnOpResult::Delete(delete) => assert_eq!(delete.version, version),
                    TxnOpResult::DeleteRange(delete) => assert_eq!(delete.version, version),
                    TxnOpResult::Scan(page) => assert_eq!(page.version, version),
                    _ => {}
                }
            }
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_scan_that_finds_too_much_fails_the_transaction_unless_it_has_a_limit() {
    for (store, _directory) in both(settings()) {
        let puts = (0..1_025).map(|n| store.put(Put::new(format!("k{n:04}"), "v"), call()));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        let scan = |limit| TxnOp::Scan(Scan { limit, ..Scan::new(KeyRange::prefix("k")) });
        for limit in [0, 1_025] {
            let error = store.txn(then(vec![put("a", "1"), scan(limit)]), call()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "limit {limit}");
        }
        assert_eq!(value(&store, "a").await, None);
        let result = store.txn(then(vec![scan(1_024)]), call()).await.unwrap();
        let TxnOpResult::Scan(page) = &result.results[0] else { unreachable!("it is a scan") };
        assert_eq!((page.entries.len(), page.more), (1_024, true));
        for key in ["l1", "l2"] {
            store.put(Put::new(key, vec![7; 700_000]), call()).await.unwrap();
        }
        let large = |limit| TxnOp::Scan(Scan { limit, ..Scan::new(KeyRange::prefix("l")) });
        let error = store.txn(then(vec![large(2)]), call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(store.txn(then(vec![large(1)]), call()).await.is_ok());
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_scan_of_nearly_too_much_finds_all_of_it_and_keys_alone_are_few_bytes() {
    for (store, _directory) in both(settings()) {
        // Less than 1 MiB of keys and values, and more with what is stored beside them.
        let puts = (0..1_020).map(|n| store.put(Put::new(format!("k{n:07}"), vec![7; 1_000]), call()));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        for limit in [0, 1_020] {
            for order in [Order::Ascending, Order::Descending] {
                let scan = Scan { limit, order, ..Scan::new(KeyRange::prefix("k")) };
                let result = store.txn(then(vec![TxnOp::Scan(scan)]), call()).await.unwrap();
                let TxnOpResult::Scan(page) = &result.results[0] else { unreachable!("it is a scan") };
                assert_eq!((page.entries.len(), page.more), (1_020, false));
            }
        }
        let all = || Scan::new(KeyRange::prefix("k"));
        let large = TxnOp::Put(Put::new("k", vec![7; 100_000]));
        let error = store.txn(then(vec![large.clone(), TxnOp::Scan(all())]), call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        let scan = TxnOp::Scan(Scan { keys_only: true, ..all() });
        let result = store.txn(then(vec![large, scan]), call()).await.unwrap();
        let TxnOpResult::Scan(page) = &result.results[1] else { unreachable!("it is a scan") };
        assert_eq!(page.entries.len(), 1_021);
        assert!(page.entries.iter().all(|entry| entry.value.is_empty()));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn sixty_four_callers_moving_money_neither_make_nor_lose_any() {
    for (store, _directory) in both(settings()) {
        let store = Arc::new(store);
        for account in 0..20 {
            store.put(Put::new(format!("{account:02}"), "100"), call()).await.unwrap();
        }
        let callers = (0..64_u64).map(|seed| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..20 {
                    let (from, to) = (random.u8(..10), random.u8(10..20));
                    let accounts = [format!("{from:02}"), format!("{to:02}")];
                    let amount = random.i64(1..10);
                    loop {
                        let reads = then(accounts.iter().map(|account| get(account)).collect());
                        let read = store.txn(reads, call()).await.unwrap();
                        let entries = read.results.iter().map(|result| match result {
                            TxnOpResult::Get(Some(entry)) => entry,
                            _ => unreachable!("every account is there"),
                        });
                        let (mut compares, mut ops) = (Vec::new(), Vec::new());
                        for (entry, amount) in entries.zip([-amount, amount]) {
                            let target = CompareTarget::Version(entry.version);
                            compares.push(Compare { key: entry.key.clone(), op: CompareOp::Equal, target });
                            let balance: i64 = text(entry).parse().unwrap();
                            ops.push(TxnOp::Put(Put::new(entry.key.clone(), (balance + amount).to_string())));
                        }
                        let txn = Txn { compares, ..then(ops) };
                        if store.txn(txn, call()).await.unwrap().succeeded {
                            break;
                        }
                    }
                }
            })
        });
        for caller in futures_util::future::join_all(callers).await {
            caller.unwrap();
        }
        let last = store.status(call()).await.unwrap().version;
        assert_eq!(last.index, 21 + 64 * 20);
        for index in 21..=last.index {
            let scan = Scan { version: Some(Version::new(1, index)), ..Scan::new(KeyRange::all()) };
            let page = store.scan(scan, call()).await.unwrap();
            let sum: i64 = page.entries.iter().map(|entry| text(entry).parse::<i64>().unwrap()).sum();
            assert_eq!(sum, 2_000, "at revision {index}");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn answers_that_are_too_much_together_fail_the_transaction_before_it_changes_anything() {
    for (store, _directory) in both(settings()) {
        store.put(Put::new("large", vec![7; 1_000_000]), call()).await.unwrap();
        let gets = |count| std::iter::repeat_with(|| get("large")).take(count);
        let error = store.txn(then(gets(70).chain([put("a", "1")]).collect()), call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert_eq!(value(&store, "a").await, None);
        assert_eq!(store.txn(then(gets(60).collect()), call()).await.unwrap().results.len(), 60);
        store.close().await.unwrap();
    }
}
