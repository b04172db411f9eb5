//! Transactions.

use std::{cell::Cell, cmp::Ordering, env, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use norikv_core::{
    Backoff, CompareOp, CompareTarget, DEFAULT_MAX_VALUE_BYTES, Delete, DeleteRangeResult, DeleteResult,
    Entry, ErrorKind, EventKind, EventReason, Field, FieldName, KeyRange, MAX_TXN_OPS, Order, Precondition,
    Put, PutResult, Scan, Store, Ttl, Txn, TxnOp, TxnOpResult, Version,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Check, Watcher,
    ask::{
        self, call, count, get, keys, later, newest, put, to_delete, to_delete_range, to_get, to_put,
        to_scan, txn, value, when, when_exists, within, write,
    },
    refused,
};

const OPS: [CompareOp; 6] = [
    CompareOp::Equal,
    CompareOp::NotEqual,
    CompareOp::Less,
    CompareOp::LessOrEqual,
    CompareOp::Greater,
    CompareOp::GreaterOrEqual,
];

/// Whether `found op asked` holds, by the words of the model.
fn expected(op: CompareOp, found: Ordering) -> bool {
    match op {
        CompareOp::Equal => found == Ordering::Equal,
        CompareOp::NotEqual => found != Ordering::Equal,
        CompareOp::Less => found == Ordering::Less,
        CompareOp::LessOrEqual => found != Ordering::Greater,
        CompareOp::Greater => found == Ordering::Greater,
        CompareOp::GreaterOrEqual => found != Ordering::Less,
    }
}

/// What is compared, and how what is found orders against it.
type Asked = (CompareTarget, Ordering);

/// Holds every relation of a key against each of these, by the branch that is taken.
async fn compares_as(store: &dyn Store, key: &'static str, asked: &[Asked]) -> Check {
    for (target, found) in asked {
        for op in OPS {
            let succeeded = succeeds(store, key, op, target.clone()).await?;
            assert_eq!(succeeded, expected(op, *found), "{key} {op:?} {target:?}");
        }
    }
    Ok(())
}

async fn succeeds(store: &dyn Store, key: &'static str, op: CompareOp, target: CompareTarget) -> Check<bool> {
    let request = Txn { compares: vec![when(key, op, target)], ..Txn::default() };
    Ok(txn(store, request).await?.succeeded)
}

async fn entry(store: &dyn Store, key: &'static str) -> Check<Entry> {
    Ok(get(store, key).await?.ok_or("the key is not there")?)
}

fn then(then: Vec<TxnOp>) -> Txn {
    Txn { then, ..Txn::default() }
}

/// `value`, `version`, `createVersion`, `generation` and `lease` compare with `=`, `!=`, `<`, `<=`, `>` and `>=`.
pub async fn every_target_compares_with_every_relation(store: &dyn Store) -> Check {
    put(store, "before", "v").await?;
    let created = put(store, "k", "a").await?;
    put(store, "other", "v").await?;
    let version = put(store, "k", "m").await?;
    let earlier = |version: Version| Version::new(version.term, version.index - 1);
    compares_as(
        store,
        "k",
        &[
            (CompareTarget::Value("l".into()), Ordering::Greater),
            (CompareTarget::Value("m".into()), Ordering::Equal),
            (CompareTarget::Value("n".into()), Ordering::Less),
            (CompareTarget::Version(earlier(version)), Ordering::Greater),
            (CompareTarget::Version(version), Ordering::Equal),
            (CompareTarget::Version(later(version, 1)), Ordering::Less),
            // Versions order by their term first.
            (CompareTarget::Version(Version::new(0, u64::MAX)), Ordering::Greater),
            (CompareTarget::Version(Version::new(2, 1)), Ordering::Less),
            (CompareTarget::CreateVersion(earlier(created)), Ordering::Greater),
            (CompareTarget::CreateVersion(created), Ordering::Equal),
            (CompareTarget::CreateVersion(later(created, 1)), Ordering::Less),
            (CompareTarget::Generation(1), Ordering::Greater),
            (CompareTarget::Generation(2), Ordering::Equal),
            (CompareTarget::Generation(3), Ordering::Less),
            (CompareTarget::Lease(0), Ordering::Equal),
            (CompareTarget::Lease(1), Ordering::Less),
        ],
    )
    .await
}

/// Values compare as unsigned bytes, a beginning before what it begins.
pub async fn values_compare_as_unsigned_bytes(store: &dyn Store) -> Check {
    put(store, "k", &b"m\x80"[..]).await?;
    let target = |bytes: &'static [u8]| CompareTarget::Value(bytes.into());
    let asked = [
        (target(b""), Ordering::Greater),
        (target(b"m"), Ordering::Greater),
        (target(b"m\x7f"), Ordering::Greater),
        (target(b"m\x80"), Ordering::Equal),
        (target(b"m\x80\0"), Ordering::Less),
        (target(b"m\xff"), Ordering::Less),
    ];
    compares_as(store, "k", &asked).await?;
    // An empty value is a value, not a missing key.
    put(store, "empty", "").await?;
    compares_as(store, "empty", &[(target(b""), Ordering::Equal), (target(b"\0"), Ordering::Less)]).await
}

/// Of a missing key, `version`, `createVersion`, `generation` and `lease` are 0.
pub async fn a_missing_key_is_0_to_compares(store: &dyn Store) -> Check {
    // One that was there is missing as well.
    let version = put(store, "gone", "v").await?;
    ask::delete(store, "gone").await?;
    for key in ["never", "gone"] {
        let asked = [
            (CompareTarget::Version(Version::ZERO), Ordering::Equal),
            (CompareTarget::Version(version), Ordering::Less),
            (CompareTarget::CreateVersion(Version::ZERO), Ordering::Equal),
            (CompareTarget::CreateVersion(version), Ordering::Less),
            (CompareTarget::Generation(0), Ordering::Equal),
            (CompareTarget::Generation(1), Ordering::Less),
            (CompareTarget::Lease(0), Ordering::Equal),
            (CompareTarget::Lease(1), Ordering::Less),
        ];
        compares_as(store, key, &asked).await?;
    }
    Ok(())
}

/// A `value` compare of a missing key is false whatever the operator.
pub async fn a_value_compare_of_a_missing_key_is_false_whatever_the_operator(store: &dyn Store) -> Check {
    put(store, "gone", "v").await?;
    ask::delete(store, "gone").await?;
    for key in ["never", "gone"] {
        for asked in ["", "v", "w"] {
            for op in OPS {
                let target = CompareTarget::Value(asked.into());
                assert!(!succeeds(store, key, op, target).await?, "{key} {op:?} {asked:?}");
            }
        }
    }
    Ok(())
}

/// `exists` compares with `=` and `!=`; it has no order, and being asked for one is refused.
pub async fn exists_compares_with_equal_and_not_equal_and_has_no_order(store: &dyn Store) -> Check {
    put(store, "there", "").await?;
    for (key, there) in [("there", true), ("missing", false)] {
        for asked in [true, false] {
            let holds = async |op| succeeds(store, key, op, CompareTarget::Exists(asked)).await;
            assert_eq!(holds(CompareOp::Equal).await?, there == asked);
            assert_eq!(holds(CompareOp::NotEqual).await?, there != asked);
        }
        for op in [CompareOp::Less, CompareOp::LessOrEqual, CompareOp::Greater, CompareOp::GreaterOrEqual] {
            let compares = vec![when(key, op, CompareTarget::Exists(true))];
            let request = Txn { compares, ..then(vec![to_put("k", "v")]) };
            refused(txn(store, request).await, ErrorKind::InvalidArgument)?;
        }
    }
    assert_eq!(get(store, "k").await?, None);
    Ok(())
}

/// All compares must hold; none at all hold.
pub async fn all_compares_must_hold(store: &dyn Store) -> Check {
    for key in ["a", "b", "c"] {
        put(store, key, "v").await?;
    }
    for missing in [None, Some(0), Some(1), Some(2)] {
        let compares = ["a", "b", "c"].into_iter().enumerate();
        let compares: Vec<_> = compares.map(|(n, key)| when_exists(key, Some(n) != missing)).collect();
        let request = Txn { compares, then: vec![to_get("a")], otherwise: vec![to_get("b"), to_get("c")] };
        let done = txn(store, request).await?;
        assert_eq!(done.succeeded, missing.is_none());
        assert_eq!(done.results.len(), if missing.is_none() { 1 } else { 2 });
    }
    // Two compares of one key both count.
    let compares = vec![when_exists("a", true), when("a", CompareOp::Greater, CompareTarget::Generation(1))];
    assert!(!txn(store, Txn { compares, ..Txn::default() }).await?.succeeded);
    assert!(txn(store, then(vec![to_put("d", "v")])).await?.succeeded);
    assert!(get(store, "d").await?.is_some());
    Ok(())
}

/// `then` is done if the compares hold and `else` if not, and never anything of the other.
pub async fn one_branch_is_done_and_nothing_of_the_other(store: &dyn Store) -> Check {
    let mut last = put(store, "k", "v").await?;
    for holds in [true, false] {
        let request = Txn {
            compares: vec![when_exists("k", holds)],
            then: vec![to_put("then", "v"), to_delete("else")],
            otherwise: vec![to_put("else", "v"), to_delete("then")],
        };
        let done = txn(store, request).await?;
        assert_eq!((done.succeeded, done.version), (holds, later(last, 1)));
        assert_eq!(get(store, "then").await?.is_some(), holds);
        assert_eq!(get(store, "else").await?.is_some(), !holds);
        last = done.version;
    }
    Ok(())
}

/// A branch may be empty: the transaction answers which it was, and changes nothing.
pub async fn a_branch_may_be_empty(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let only_then = |exists| Txn { compares: vec![when_exists("k", exists)], ..then(vec![to_put("k", "w")]) };
    let done = txn(store, only_then(false)).await?;
    assert_eq!((done.succeeded, done.version, done.results), (false, before, Vec::new()));
    let only_else =
        Txn { compares: vec![when_exists("k", true)], otherwise: vec![to_put("k", "w")], ..Txn::default() };
    let done = txn(store, only_else).await?;
    assert_eq!((done.succeeded, done.version, done.results), (true, before, Vec::new()));
    let done = txn(store, Txn::default()).await?;
    assert_eq!((done.succeeded, done.version, done.results), (true, before, Vec::new()));
    assert_eq!(newest(store).await?, before);
    assert_eq!(txn(store, only_then(true)).await?.version, later(before, 1));
    Ok(())
}

/// A transaction takes one revision, whatever it writes, and all of its changes carry it.
pub async fn all_writes_of_a_transaction_carry_its_one_revision(store: &dyn Store) -> Check {
    let created = put(store, "a", "1").await?;
    put(store, "gone", "v").await?;
    put(store, "range:1", "v").await?;
    let before = put(store, "range:2", "v").await?;
    let version = later(before, 1);
    let request = then(vec![
        to_put("a", "2"),
        to_put("new", "1"),
        to_delete("gone"),
        to_delete_range(KeyRange::prefix("range:")),
    ]);
    let done = txn(store, request).await?;
    assert_eq!((done.succeeded, done.version), (true, version));
    let results = [
        TxnOpResult::Put(PutResult { version, prev_entry: None }),
        TxnOpResult::Put(PutResult { version, prev_entry: None }),
        TxnOpResult::Delete(DeleteResult { deleted: true, version }),
        TxnOpResult::DeleteRange(DeleteRangeResult { deleted: 2, version }),
    ];
    assert_eq!(done.results, results);
    let fields = |entry: Entry| (entry.value, entry.version, entry.create_version, entry.generation);
    assert_eq!(fields(entry(store, "a").await?), ("2".into(), version, created, 2));
    assert_eq!(fields(entry(store, "new").await?), ("1".into(), version, version, 1));
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["a", "new"]);
    // The history has it whole or not at all.
    let at = |version| Scan { version: Some(version), ..Scan::new(KeyRange::all()) };
    assert_eq!(keys(store, at(before)).await?, ["a", "gone", "range:1", "range:2"]);
    assert_eq!(keys(store, at(version)).await?, ["a", "new"]);
    assert_eq!(newest(store).await?, version);
    assert_eq!(put(store, "a", "3").await?, later(before, 2));
    Ok(())
}

/// What was deleted and is put again by transactions begins at generation 1.
pub async fn what_a_transaction_deleted_is_created_anew_by_the_next(store: &dyn Store) -> Check {
    put(store, "k", "1").await?;
    put(store, "k", "2").await?;
    txn(store, then(vec![to_delete("k")])).await?;
    let done = txn(store, then(vec![to_put("k", "3")])).await?;
    let entry = entry(store, "k").await?;
    assert_eq!((entry.version, entry.create_version, entry.generation), (done.version, done.version, 1));
    Ok(())
}

/// A transaction that changes nothing takes no revision, and answers the store's version.
pub async fn a_transaction_that_changes_nothing_takes_no_revision(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let nothing = [
        vec![to_get("k"), to_scan(KeyRange::all())],
        vec![to_delete("missing")],
        vec![to_delete_range(KeyRange::prefix("missing"))],
        vec![to_get("k"), to_delete("missing"), to_delete_range(KeyRange::prefix("other"))],
    ];
    for ops in nothing {
        let done = txn(store, then(ops.clone())).await?;
        assert_eq!((done.succeeded, done.version, done.results.len()), (true, before, ops.len()));
        for result in done.results {
            match result {
                TxnOpResult::Delete(done) => assert_eq!((done.deleted, done.version), (false, before)),
                TxnOpResult::DeleteRange(done) => assert_eq!((done.deleted, done.version), (0, before)),
                TxnOpResult::Get(entry) => assert!(entry.is_some()),
                TxnOpResult::Scan(page) => assert_eq!((page.entries.len(), page.version), (1, before)),
                TxnOpResult::Put(put) => unreachable!("{put:?}"),
            }
        }
    }
    assert_eq!(put(store, "k", "w").await?, later(before, 1));
    Ok(())
}

/// A get inside sees the writes before it and none after.
pub async fn a_get_inside_sees_the_writes_before_it_and_none_after(store: &dyn Store) -> Check {
    put(store, "a", "1").await?;
    put(store, "b", "1").await?;
    let before = put(store, "c:1", "1").await?;
    let request = then(vec![
        to_get("a"),
        to_put("a", "2"),
        to_get("a"),
        to_get("b"),
        to_delete("b"),
        to_get("b"),
        to_get("new"),
        to_put("new", "1"),
        to_get("new"),
        to_get("c:1"),
        to_delete_range(KeyRange::prefix("c:")),
        to_get("c:1"),
    ]);
    let done = txn(store, request).await?;
    let version = later(before, 1);
    assert_eq!(done.version, version);
    let seen: Vec<_> = done
        .results
        .iter()
        .filter_map(|result| match result {
            TxnOpResult::Get(entry) => Some(entry.as_ref().map(|entry| (&entry.value[..], entry.generation))),
            _ => None,
        })
        .collect();
    let expected: [Option<(&[u8], u64)>; 8] = [
        Some((b"1", 1)),
        Some((b"2", 2)),
        Some((b"1", 1)),
        None,
        None,
        Some((b"1", 1)),
        Some((b"1", 1)),
        None,
    ];
    assert_eq!(seen, expected);
    // What is seen of its own writes is what everybody sees afterwards.
    assert_eq!(done.results[2], TxnOpResult::Get(get(store, "a").await?));
    assert_eq!(done.results[8], TxnOpResult::Get(get(store, "new").await?));
    Ok(())
}

/// A scan inside sees the writes before it and none after, with its limit, order and values.
pub async fn a_scan_inside_sees_the_writes_before_it_and_none_after(store: &dyn Store) -> Check {
    for key in ["a", "b", "c", "d"] {
        put(store, key, "1").await?;
    }
    let all = || Scan::new(KeyRange::all());
    let request = then(vec![
        to_scan(KeyRange::all()),
        to_put("aa", "new"),
        to_delete("b"),
        to_put("d", "2"),
        to_scan(KeyRange::all()),
        TxnOp::Scan(Scan { order: Order::Descending, keys_only: true, ..all() }),
        TxnOp::Scan(Scan { limit: 2, ..all() }),
        TxnOp::Scan(Scan { limit: 2, order: Order::Descending, ..all() }),
        TxnOp::Scan(Scan { limit: 4, ..all() }),
        to_delete_range(KeyRange { start: "c".into(), end: Some("d".into()) }),
        to_scan(KeyRange::all()),
        to_scan(KeyRange::prefix("a")),
    ]);
    let done = txn(store, request).await?;
    let seen: Vec<(String, bool)> = done
        .results
        .iter()
        .filter_map(|result| match result {
            TxnOpResult::Scan(page) => {
                let entries = page.entries.iter().map(|entry| {
                    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                    format!("{}={} ", text(&entry.key), text(&entry.value))
                });
                Some((entries.collect(), page.more))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("a=1 b=1 c=1 d=1 ", false),
        ("a=1 aa=new c=1 d=2 ", false),
        ("d= c= aa= a= ", false),
        ("a=1 aa=new ", true),
        ("d=2 c=1 ", true),
        ("a=1 aa=new c=1 d=2 ", false),
        ("a=1 aa=new d=2 ", false),
        ("a=1 aa=new ", false),
    ];
    assert_eq!(seen, expected.map(|(entries, more)| (entries.to_owned(), more)));
    // The versions that it sees of its own writes are those that everybody sees afterwards.
    let (after, _) = ask::scan(store, all()).await?;
    let Some(TxnOpResult::Scan(page)) = done.results.get(10) else { return Err("no page".into()) };
    assert_eq!(page.entries, after);
    Ok(())
}

/// A scan inside answers all of its range and never a part in silence: where that is more than a page, a store may
/// refuse the transaction instead, and changes nothing.
pub async fn a_scan_inside_answers_all_of_its_range_or_the_transaction_is_refused(
    store: &dyn Store,
) -> Check {
    const PAGE: u64 = 1_024;
    const MANY: u64 = 1_500;
    for written in join_all((0..MANY).map(|n| put(store, format!("key {n:05}"), n.to_string()))).await {
        written?;
    }
    let before = newest(store).await?;
    let ops =
        || vec![to_put("key 00700 and a half", "new"), to_delete("key 01400"), to_scan(KeyRange::all())];
    match txn(store, then(ops())).await {
        Ok(done) => {
            let Some(TxnOpResult::Scan(page)) = done.results.last() else { return Err("no page".into()) };
            assert_eq!((page.entries.len() as u64, page.more), (MANY, false));
            assert_eq!(page.entries, ask::scan(store, Scan::new(KeyRange::all())).await?.0);
        }
        refusal => {
            refused(refusal, ErrorKind::ResourceExhausted)?;
            assert_eq!(newest(store).await?, before);
            assert_eq!(get(store, "key 00700 and a half").await?, None);
        }
    }
    // As many as a page has are no such case, and neither is a limit.
    let range = KeyRange { start: "key".into(), end: Some(format!("key {PAGE:05}").into()) };
    let range_has = count(store, range.clone(), None).await?;
    let limited = TxnOp::Scan(Scan { limit: PAGE - 1, ..Scan::new(KeyRange::all()) });
    let end = KeyRange { end: Some(format!("key {:05}", PAGE - 1).into()), ..range };
    let done = txn(store, then(vec![to_scan(end), limited])).await?;
    let found: Vec<_> = done
        .results
        .iter()
        .filter_map(|result| match result {
            TxnOpResult::Scan(page) => Some((page.entries.len() as u64, page.more)),
            _ => None,
        })
        .collect();
    assert_eq!(found, [(range_has - 1, false), (PAGE - 1, true)]);
    Ok(())
}

/// A range delete inside takes what the steps before it left in its range.
pub async fn a_range_delete_inside_counts_what_is_there(store: &dyn Store) -> Check {
    for key in ["a", "b", "b\0", "c"] {
        put(store, key, "v").await?;
    }
    let before = newest(store).await?;
    let range = KeyRange::new("b".into(), Some("c".into()))?;
    let done = txn(store, then(vec![to_delete_range(range.clone()), to_put("c", "w")])).await?;
    let expected = DeleteRangeResult { deleted: 2, version: later(before, 1) };
    assert_eq!(done.results[0], TxnOpResult::DeleteRange(expected));
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["a", "c"]);
    Ok(())
}

/// A precondition of a step is one of the whole transaction: where it does not hold, the transaction fails with its
/// error and nothing is changed.
pub async fn a_steps_precondition_that_fails_fails_the_transaction_and_changes_nothing(
    store: &dyn Store,
) -> Check {
    let old = put(store, "k", "1").await?;
    let version = put(store, "k", "2").await?;
    let at = |key: &'static str, version| {
        TxnOp::Put(Put { precondition: Precondition::Version(version), ..Put::new(key, "w") })
    };
    let new =
        |key: &'static str| TxnOp::Put(Put { precondition: Precondition::NotExists, ..Put::new(key, "w") });
    let delete_at =
        |key: &'static str, version| TxnOp::Delete(Delete { if_match: Some(version), ..Delete::new(key) });
    let failing = [
        (at("k", old), ErrorKind::VersionMismatch, "k", Some(version)),
        (at("missing", old), ErrorKind::VersionMismatch, "missing", None),
        (delete_at("k", old), ErrorKind::VersionMismatch, "k", Some(version)),
        (delete_at("missing", old), ErrorKind::VersionMismatch, "missing", None),
        (new("k"), ErrorKind::AlreadyExists, "k", Some(version)),
    ];
    for (op, kind, key, actual) in failing {
        for ops in [
            vec![to_put("first", "v"), to_put("second", "v"), op.clone()],
            vec![op.clone(), to_put("first", "v"), to_delete_range(KeyRange::prefix("x"))],
        ] {
            let error = refused(txn(store, then(ops)).await, kind)?;
            assert_eq!(error.field(FieldName::Key), Some(&Field::Bytes(key.into())), "{error:?}");
            assert_eq!(error.version(FieldName::Actual), actual, "{error:?}");
        }
        // In the branch that is not taken it is no condition of anything.
        let request =
            Txn { compares: vec![when_exists("k", true)], then: vec![to_get("k")], otherwise: vec![op] };
        assert!(txn(store, request).await?.succeeded);
    }
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["k"]);
    assert_eq!((value(store, "k").await?, newest(store).await?), (Some("2".into()), version));
    // And where they hold, it is done.
    let done = txn(store, then(vec![at("k", version), new("new")])).await?;
    assert_eq!(done.version, later(version, 1));
    txn(store, then(vec![delete_at("k", done.version)])).await?;
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["new"]);
    Ok(())
}

/// A put inside answers the entry before it, if it is asked for.
pub async fn a_put_inside_answers_the_entry_before_it(store: &dyn Store) -> Check {
    put(store, "k", "1").await?;
    let before = get(store, "k").await?;
    let asking = |key: &'static str| TxnOp::Put(Put { prev_entry: true, ..Put::new(key, "2") });
    let done = txn(store, then(vec![asking("k"), asking("new"), to_put("other", "v")])).await?;
    let prev = |result: &TxnOpResult| match result {
        TxnOpResult::Put(put) => Ok(put.prev_entry.clone()),
        _ => Err("not the answer of a put"),
    };
    assert_eq!(prev(&done.results[0])?, before);
    assert_eq!((prev(&done.results[1])?, prev(&done.results[2])?), (None, None));
    Ok(())
}

/// A put inside may have a time to live, and without one clears an earlier one.
pub async fn a_put_inside_may_have_a_time_to_live(store: &dyn Store) -> Check {
    let short = |key: &'static str| -> Check<Put> {
        Ok(Put { ttl: Some(Ttl::from_millis(100)?), ..Put::new(key, "v") })
    };
    write(store, short("stays")?).await?;
    let done = txn(store, then(vec![TxnOp::Put(short("goes")?), to_put("stays", "w")])).await?;
    let ended = Instant::now() + Duration::from_millis(102);
    sleep_until(ended).await;
    assert_eq!(get(store, "goes").await?, None);
    let entry = entry(store, "stays").await?;
    assert_eq!((entry.value, entry.expires_at), ("w".into(), None));
    // Its expiry is a delete in a revision of its own.
    let late = Instant::now() + Duration::from_secs(10);
    while newest(store).await? != later(done.version, 1) {
        assert!(Instant::now() < late, "no expiry");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What has expired is missing inside a transaction.
pub async fn what_has_expired_is_missing_inside(store: &dyn Store) -> Check {
    let ttl = Some(Ttl::from_millis(30)?);
    let begin = later(newest(store).await?, 1);
    for key in ["a", "b", "c", "d"] {
        put(store, key, "old").await?;
        write(store, Put { ttl, ..Put::new(key, "v") }).await?;
    }
    sleep(Duration::from_millis(32)).await;
    let request = Txn {
        compares: vec![
            when_exists("a", false),
            when("b", CompareOp::Equal, CompareTarget::Generation(0)),
            when("b", CompareOp::Equal, CompareTarget::Version(Version::ZERO)),
        ],
        then: vec![
            to_get("a"),
            to_scan(KeyRange::all()),
            TxnOp::Put(Put {
                precondition: Precondition::NotExists,
                prev_entry: true,
                ..Put::new("b", "new")
            }),
            to_delete("c"),
            to_delete_range(KeyRange::prefix("d")),
        ],
        otherwise: vec![],
    };
    let done = txn(store, request).await?;
    assert!(done.succeeded);
    let version = done.version;
    assert_eq!(done.results[0], TxnOpResult::Get(None));
    assert!(matches!(&done.results[1], TxnOpResult::Scan(page) if page.entries.is_empty()), "{done:?}");
    assert_eq!(done.results[2], TxnOpResult::Put(PutResult { version, prev_entry: None }));
    assert!(matches!(done.results[3], TxnOpResult::Delete(DeleteResult { deleted: false, .. })), "{done:?}");
    assert!(matches!(&done.results[4], TxnOpResult::DeleteRange(done) if done.deleted == 0), "{done:?}");
    let entry = entry(store, "b").await?;
    assert_eq!((entry.generation, entry.create_version, entry.expires_at), (1, version, None));
    // Each expiry has its revision all the same, that of "b" before the put.
    let mut watcher = Watcher::from(store, begin).await?;
    let mut told = Vec::new();
    for n in 0..13 {
        let event = watcher.event().await?;
        assert_eq!(event.entry.version, later(begin, n));
        told.push((event.kind, event.reason, event.entry.key));
    }
    for key in ["a", "b", "c", "d"] {
        let of_key: Vec<_> =
            told.iter().filter(|(.., told)| told == key).map(|(kind, reason, _)| (*kind, *reason)).collect();
        let written = (EventKind::Put, EventReason::Write);
        let mut expected = vec![written, written, (EventKind::Delete, EventReason::Expired)];
        if key == "b" {
            expected.push(written);
        }
        assert_eq!(of_key, expected, "{key}");
    }
    Ok(())
}

/// Two writes to one key in one branch are refused; one in each branch are not.
pub async fn two_writes_to_one_key_in_one_branch_are_refused(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let range = || to_delete_range(KeyRange::prefix("k"));
    let pairs = [
        [to_put("k", "1"), to_put("k", "2")],
        [to_put("k", "1"), to_delete("k")],
        [to_delete("k"), to_put("k", "1")],
        [to_delete("k"), to_delete("k")],
        [to_put("k1", "1"), range()],
        [range(), to_put("k1", "1")],
        [range(), to_delete_range(KeyRange::all())],
    ];
    for pair in pairs {
        for request in [
            then(pair.to_vec()),
            Txn { otherwise: pair.to_vec(), ..Txn::default() },
            then([&pair[..1], &[to_put("other", "v")], &pair[1..]].concat()),
        ] {
            refused(txn(store, request).await, ErrorKind::InvalidArgument)?;
        }
    }
    assert_eq!(newest(store).await?, before);
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["k"]);
    let request = Txn {
        compares: vec![when_exists("k", true)],
        then: vec![to_put("k", "then")],
        otherwise: vec![to_put("k", "else")],
    };
    txn(store, request).await?;
    assert_eq!(value(store, "k").await?, Some("then".into()));
    // A key is not its neighbour, and reading it is not writing it.
    let beside = vec![to_put("k", "1"), to_get("k"), to_put("k\0", "2"), to_get("k"), to_put("j\u{ff}", "3")];
    txn(store, then(beside)).await?;
    assert_eq!(count(store, KeyRange::all(), None).await?, 3);
    Ok(())
}

/// A transaction has at most 128 compares and ops, counted together.
pub async fn at_most_128_compares_and_ops(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let of = |compares: usize, then: usize, otherwise: usize| Txn {
        compares: vec![when_exists("k", true); compares],
        then: (0..then).map(|n| to_put(format!("then {n:03}"), "v")).collect(),
        otherwise: (0..otherwise).map(|n| to_put(format!("else {n:03}"), "v")).collect(),
    };
    let most = MAX_TXN_OPS;
    assert_eq!(most, 128);
    for (compares, then, otherwise) in [(0, most + 1, 0), (most + 1, 0, 0), (0, 0, most + 1), (50, 50, 29)] {
        let error = refused(txn(store, of(compares, then, otherwise)).await, ErrorKind::InvalidArgument)?;
        assert!(error.message().contains("128"), "{error:?}");
    }
    assert_eq!(newest(store).await?, before);
    let done = txn(store, of(0, most, 0)).await?;
    assert_eq!((done.version, done.results.len()), (later(before, 1), most));
    assert_eq!(count(store, KeyRange::prefix("then "), None).await?, most as u64);
    let done = txn(store, of(50, 50, 28)).await?;
    assert_eq!((done.version, done.results.len()), (later(before, 2), 50));
    assert!(txn(store, of(most, 0, 0)).await?.succeeded);
    Ok(())
}

/// A key, value or range that no call takes, a time to live with a lease, and a scan at a version are refused in
/// every part of a transaction, and change nothing.
pub async fn what_no_call_takes_no_transaction_takes(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let long = Bytes::from(vec![b'a'; 1_025]);
    let backwards = KeyRange { start: "c".into(), end: Some("a".into()) };
    let wrong = [
        to_put("", "v"),
        to_put(long.clone(), "v"),
        to_put("big", vec![0; DEFAULT_MAX_VALUE_BYTES + 1]),
        to_delete(""),
        to_delete(long.clone()),
        to_get(""),
        to_get(long.clone()),
        to_delete_range(backwards.clone()),
        to_scan(backwards),
        TxnOp::Scan(Scan { version: Some(before), ..Scan::new(KeyRange::all()) }),
        TxnOp::Put(Put { precondition: Precondition::Version(Version::ZERO), ..Put::new("z", "v") }),
        TxnOp::Put(Put {
            ttl: Some(Ttl::from_millis(1_000)?),
            lease: norikv_core::LeaseId::new(1),
            ..Put::new("z", "v")
        }),
    ];
    for op in wrong {
        let ops = vec![to_put("first", "v"), op];
        // Also in the branch that would not be taken.
        for request in
            [then(ops.clone()), Txn { then: vec![to_put("first", "v")], otherwise: ops, ..Txn::default() }]
        {
            refused(txn(store, request).await, ErrorKind::InvalidArgument)?;
        }
    }
    for key in [Bytes::new(), long] {
        let request = Txn { compares: vec![when_exists(key, true)], ..then(vec![to_put("first", "v")]) };
        refused(txn(store, request).await, ErrorKind::InvalidArgument)?;
    }
    assert_eq!(newest(store).await?, before);
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["k"]);
    // The largest value is a value here too.
    let largest = vec![7; DEFAULT_MAX_VALUE_BYTES];
    txn(store, then(vec![to_put("big", largest.clone()), to_get("big")])).await?;
    assert!(value(store, "big").await? == Some(largest.into()));
    Ok(())
}

/// Adds 1 to a counter by transactions, until one succeeds.
async fn increment(store: &dyn Store) -> Check<Version> {
    let backoff =
        Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(50), ..Backoff::default() };
    for attempt in 1.. {
        let found = entry(store, "counter").await?;
        let next = number(&found.value) + 1;
        let target = CompareTarget::Version(found.version);
        let request = Txn {
            compares: vec![when("counter", CompareOp::Equal, target)],
            ..then(vec![to_put("counter", next.to_string()), to_put(format!("step {next}"), "")])
        };
        let done = txn(store, request).await?;
        if done.succeeded {
            return Ok(done.version);
        }
        sleep(backoff.delay(attempt)).await;
    }
    Err("attempts have no end".into())
}

fn number(value: &Bytes) -> i64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
}

/// 64 callers that count by transactions count exactly, each step in one revision.
pub async fn sixty_four_callers_that_count_by_transactions_count_exactly(store: &dyn Store) -> Check {
    const CALLERS: u64 = 64;
    const STEPS: u64 = 2;
    let first = put(store, "counter", "0").await?;
    let callers = (0..CALLERS).map(async |_| {
        let mut last = Version::ZERO;
        for _ in 0..STEPS {
            let version = increment(store).await?;
            assert!(version > last, "{version} after {last}");
            last = version;
        }
        Check::Ok(())
    });
    join_all(callers).await.into_iter().collect::<Check<Vec<()>>>()?;
    let entry = entry(store, "counter").await?;
    assert_eq!(entry.value, (CALLERS * STEPS).to_string());
    assert_eq!(entry.version, later(first, CALLERS * STEPS));
    assert_eq!(entry.generation, CALLERS * STEPS + 1);
    assert_eq!(count(store, KeyRange::prefix("step "), None).await?, CALLERS * STEPS);
    Ok(())
}

const ACCOUNTS: usize = 8;
const EACH: i64 = 100;

fn account(n: usize) -> String {
    format!("account {n}")
}

/// Moves money between two accounts if neither changed since it was read; answers whether it did.
async fn transfer(store: &dyn Store, random: &mut fastrand::Rng) -> Check<bool> {
    let (a, b) = (random.usize(..ACCOUNTS), random.usize(..ACCOUNTS));
    if a == b {
        return Ok(false);
    }
    let both = txn(store, then(vec![to_get(account(a)), to_get(account(b))])).await?;
    let [TxnOpResult::Get(Some(from)), TxnOpResult::Get(Some(to))] = &both.results[..] else {
        return Err("an account is missing".into());
    };
    let amount = random.i64(0..=number(&from.value).max(0));
    let unchanged =
        |entry: &Entry| when(entry.key.clone(), CompareOp::Equal, CompareTarget::Version(entry.version));
    let request = Txn {
        compares: vec![unchanged(from), unchanged(to)],
        ..then(vec![
            to_put(from.key.clone(), (number(&from.value) - amount).to_string()),
            to_put(to.key.clone(), (number(&to.value) + amount).to_string()),
        ])
    };
    Ok(txn(store, request).await?.succeeded)
}

/// How many there are, and how much they have.
fn sum<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> (usize, i64) {
    entries.into_iter().fold((0, 0), |(count, sum), entry| (count + 1, sum + number(&entry.value)))
}

/// Transactions that move money neither make nor lose any, seen by scans at every revision. `NORIKV_LONG` makes it go
/// on for 30 s.
pub async fn transfers_neither_make_nor_lose_money(store: &dyn Store) -> Check {
    let long = env::var_os("NORIKV_LONG").is_some();
    let enough = |transfers: u64, begun: Instant| {
        if long { begun.elapsed() >= Duration::from_secs(30) } else { transfers >= 150 }
    };
    let mut first = Version::ZERO;
    for n in 0..ACCOUNTS {
        first = put(store, account(n), EACH.to_string()).await?;
    }
    let all = (ACCOUNTS, ACCOUNTS as i64 * EACH);
    let (begun, transfers, done) = (Instant::now(), Cell::new(0), Cell::new(false));
    let clerks = join_all((0..8).map(async |_| {
        let mut random = fastrand::Rng::new();
        while !enough(transfers.get(), begun) {
            if transfer(store, &mut random).await? {
                transfers.set(transfers.get() + 1);
            }
        }
        Check::Ok(())
    }));
    let clerks = async {
        let ended: Check<Vec<()>> = clerks.await.into_iter().collect();
        done.set(true);
        ended
    };
    let auditor = async {
        while !done.get() {
            tokio::task::yield_now().await;
            let (entries, _) = ask::scan(store, Scan::new(KeyRange::prefix("account "))).await?;
            assert_eq!(sum(&entries), all);
            let inside = txn(store, then((0..ACCOUNTS).map(|n| to_get(account(n))).collect())).await?;
            let entries = inside.results.iter().filter_map(|result| match result {
                TxnOpResult::Get(entry) => entry.as_ref(),
                _ => None,
            });
            assert_eq!(sum(entries), all);
        }
        Check::Ok(())
    };
    let (clerks, auditor) = tokio::join!(clerks, auditor);
    clerks?;
    auditor?;
    let last = newest(store).await?;
    assert_eq!(last, later(first, transfers.get()), "a transfer takes one revision");
    // At most so many, so that a long run has an end.
    let oldest = first.index.max(last.index.saturating_sub(500));
    for index in oldest..=last.index {
        let version = Some(Version::new(last.term, index));
        let request = Scan { version, ..Scan::new(KeyRange::prefix("account ")) };
        assert_eq!(sum(&ask::scan(store, request).await?.0), all, "at revision {index}");
    }
    Ok(())
}

/// A transaction whose future is dropped happens whole or not at all, and holds up nobody.
pub async fn a_dropped_transaction_happens_whole_or_not_at_all(store: &dyn Store) -> Check {
    for round in 0..50_u64 {
        let pair = [format!("{round} a"), format!("{round} b")];
        let request = then(pair.iter().map(|key| to_put(key.clone(), "v")).collect());
        let polled = Duration::from_micros(fastrand::u64(..2_000));
        let _ = tokio::time::timeout(polled, store.txn(request, call())).await;
        put(store, "other", "v").await?;
        let found = ask::get_many(store, pair.into_iter().map(Bytes::from).collect()).await?;
        assert_eq!(found[0].is_some(), found[1].is_some(), "round {round}: half of it");
        if let [Some(a), Some(b)] = &found[..] {
            assert_eq!(a.version, b.version);
        }
    }
    within(call(), store.status(call())).await?;
    Ok(())
}
