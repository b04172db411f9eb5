//! Any sequence of writes, and reads at any version, against a map of all versions there were.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{call, settings};
use norikv_core::{
    Count, Delete, DeleteRange, ErrorKind, FieldName, Get, GetMany, KeyRange, Order, Precondition, Put, Scan,
    Store, Version,
};
use norikv_embedded::{EmbeddedStore, Settings};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Put(Bytes, Bytes),
    PutIf(Bytes, Bytes, u64),
    PutNew(Bytes, Bytes),
    Delete(Bytes),
    DeleteRange(Bytes, Bytes),
    Read(u64, Bytes, Bytes, bool, u64),
    Reopen,
}

/// Few keys, with the bytes that an encoding might get wrong.
fn key() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)], 1..3)
        .prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        9 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => Just(vec![7; 5_000]),
    ]
    .prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        2 => (key(), value(), 0..6u64).prop_map(|(key, value, back)| Op::PutIf(key, value, back)),
        2 => (key(), value()).prop_map(|(key, value)| Op::PutNew(key, value)),
        4 => key().prop_map(Op::Delete),
        1 => (key(), key()).prop_map(|(a, b)| Op::DeleteRange(a.clone().min(b.clone()), a.max(b))),
        8 => (0..40u64, key(), key(), any::<bool>(), 0..5u64)
            .prop_map(|(back, a, b, down, limit)| Op::Read(back, a.clone().min(b.clone()), a.max(b), down, limit)),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    value: Bytes,
    index: u64,
    create: u64,
    generation: u64,
}

type State = BTreeMap<Bytes, Expected>;

struct Model {
    /// The state after each revision, from revision 1 on.
    states: Vec<State>,
}

impl Model {
    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64
    }

    fn put(&mut self, key: &Bytes, value: &Bytes) {
        let index = self.revision() + 1;
        let mut state = self.now().clone();
        let (create, generation) =
            state.get(key).map_or((index, 1), |entry| (entry.create, entry.generation + 1));
        state.insert(key.clone(), Expected { value: value.clone(), index, create, generation });
        self.states.push(state);
    }
}

fn expected_of(entry: &norikv_core::Entry) -> (Bytes, Expected) {
    let expected = Expected {
        value: entry.value.clone(),
        index: entry.version.index,
        create: entry.create_version.index,
        generation: entry.generation,
    };
    (entry.key.clone(), expected)
}

async fn check_read(
    store: &EmbeddedStore,
    model: &Model,
    read: (u64, &Bytes, &Bytes, bool, u64),
    floor: u64,
) {
    let (back, start, end, down, limit) = read;
    let revision = model.revision().saturating_sub(back).max(1);
    // Reads without a version now and then, too.
    let version = (back != 0).then(|| Version::new(1, revision));
    let range = KeyRange::new(start.clone(), Some(end.clone())).unwrap();
    let order = if down { Order::Descending } else { Order::Ascending };
    let mut scan = Scan { range: range.clone(), limit, order, version, ..Scan::default() };
    let mut found = Vec::new();
    loop {
        let page = match store.scan(scan.clone(), call()).await {
            Ok(page) => page,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Compacted, "{error}");
                let lowest = error.version(FieldName::CompactVersion).unwrap();
                assert!(lowest.index > revision && lowest.index <= model.revision());
                assert!(revision + floor < model.revision(), "compacted too early");
                return;
            }
        };
        found.extend(page.entries.iter().map(expected_of));
        match scan.next(&page) {
            Some(next) => scan = next,
            None => break,
        }
    }
    let state = &model.states[usize::try_from(revision).unwrap() - 1];
    let mut expected: Vec<_> =
        state.range(start.clone()..end.clone()).map(|(key, entry)| (key.clone(), entry.clone())).collect();
    let all = expected.len() as u64;
    if down {
        expected.reverse();
    }
    if limit != 0 {
        expected.truncate(usize::try_from(limit).unwrap());
    }
    assert_eq!(found, expected, "at revision {revision} of {}", model.revision());
    if let Ok(count) = store.count(Count { range, version, ..Count::default() }, call()).await {
        assert_eq!(count.count, all);
    }
}

async fn check_newest(store: &EmbeddedStore, model: &Model, key: &Bytes) {
    let get = Get { key: key.clone(), consistency: Default::default() };
    let entry = store.get(get, call()).await.unwrap();
    assert_eq!(entry.as_ref().map(expected_of).map(|(_, entry)| entry), model.now().get(key).cloned());
    if let Some(now) = store.get_now(key, Default::default()) {
        assert_eq!(now.unwrap(), entry);
    }
    let many = GetMany { keys: vec![key.clone()], consistency: Default::default() };
    assert_eq!(store.get_many(many, call()).await.unwrap(), [entry]);
}

async fn run(ops: Vec<Op>, settings: Settings, on_disk: bool) {
    let directory = tempfile::tempdir().unwrap();
    let open = || match on_disk {
        true => EmbeddedStore::open(directory.path(), settings.clone()).unwrap(),
        false => EmbeddedStore::memory(settings.clone()).unwrap(),
    };
    let mut store = open();
    let mut model = Model { states: vec![State::new()] };
    for op in ops {
        match op {
            Op::Put(key, value) => {
                let result = store.put(Put::new(key.clone(), value.clone()), call()).await.unwrap();
                model.put(&key, &value);
                assert_eq!(result.version, Version::new(1, model.revision()));
                check_newest(&store, &model, &key).await;
            }
            Op::PutIf(key, value, back) => {
                let wanted = model.revision().saturating_sub(back).max(1);
                let precondition = Precondition::Version(Version::new(1, wanted));
                let put = Put { precondition, prev_entry: true, ..Put::new(key.clone(), value.clone()) };
                let holds = model.now().get(&key).is_some_and(|entry| entry.index == wanted);
                match store.put(put, call()).await {
                    Ok(result) => {
                        assert!(holds);
                        let before = result.prev_entry.as_ref().map(expected_of).map(|(_, entry)| entry);
                        assert_eq!(before, model.now().get(&key).cloned());
                        model.put(&key, &value);
                    }
                    Err(error) => assert_eq!((holds, error.kind()), (false, ErrorKind::VersionMismatch)),
                }
            }
            Op::PutNew(key, value) => {
                let precondition = Precondition::NotExists;
                let put = Put { precondition, ..Put::new(key.clone(), value.clone()) };
                match store.put(put, call()).await {
                    Ok(_) => {
                        assert!(!model.now().contains_key(&key));
                        model.put(&key, &value);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
                }
            }
            Op::Delete(key) => {
                let result = store.delete(Delete::new(key.clone()), call()).await.unwrap();
                let mut state = model.now().clone();
                let there = state.remove(&key).is_some();
                if there {
                    model.states.push(state);
                }
                assert_eq!((result.deleted, result.version.index), (there, model.revision()));
                check_newest(&store, &model, &key).await;
            }
            Op::DeleteRange(start, end) => {
                let range = KeyRange::new(start.clone(), Some(end.clone())).unwrap();
                let result = store.delete_range(DeleteRange { range }, call()).await.unwrap();
                let mut state = model.now().clone();
                state.retain(|key, _| !(start.clone()..end.clone()).contains(key));
                let deleted = (model.now().len() - state.len()) as u64;
                if deleted > 0 {
                    model.states.push(state);
                }
                assert_eq!((result.deleted, result.version.index), (deleted, model.revision()));
            }
            Op::Read(back, start, end, down, limit) => {
                let read = (back, &start, &end, down, limit);
                check_read(&store, &model, read, settings.history_revisions).await;
            }
            Op::Reopen => {
                store.close().await.unwrap();
                if !on_disk {
                    model = Model { states: vec![State::new()] };
                }
                store = open();
            }
        }
    }
    assert_eq!(store.status(call()).await.unwrap().version.index, model.revision());
    store.close().await.unwrap();
}

fn run_all(ops: Vec<Op>, settings: Settings, on_disk: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(ops, settings, on_disk));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_memory_reads_every_version_it_had(ops in proptest::collection::vec(op(), 1..150)) {
        run_all(ops, settings(), false);
    }

    #[test]
    fn a_store_in_memory_that_forgets_answers_right_or_says_that_it_forgot(
        ops in proptest::collection::vec(op(), 1..150),
    ) {
        run_all(ops, Settings { history_revisions: 10, ..settings() }, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_disk_reads_every_version_it_had(ops in proptest::collection::vec(op(), 1..150)) {
        run_all(ops, settings(), true);
    }

    #[test]
    fn a_store_on_disk_without_memory_that_forgets_answers_right_or_says_that_it_forgot(
        ops in proptest::collection::vec(op(), 1..150),
    ) {
        run_all(ops, Settings { history_revisions: 10, cache_bytes: 0, ..settings() }, true);
    }
}

/// Readers at old and new versions while writers go on: every page must be a state that was.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_reader_sees_is_one_revision_whatever_the_writers_do() {
    for (store, _directory) in common::both(settings()) {
        let store = std::sync::Arc::new(store);
        // Each write changes every key in one revision only by a range delete, so the sum over the pages tells:
        // writers move one unit from one key to the next by two puts; a snapshot has total 100 or 99.
        for key in 0..100u8 {
            store.put(Put::new(vec![key], vec![1]), call()).await.unwrap();
        }
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writers: Vec<_> = (0..8u8)
            .map(|lane| {
                let (store, stop) = (store.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut n = 0u32;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let key = vec![lane * 12 + (n % 12) as u8];
                        // Gone and back: a reader of one version sees at most one of the lane's keys gone.
                        store.delete(Delete::new(key.clone()), call()).await.unwrap();
                        store.put(Put::new(key, vec![1]), call()).await.unwrap();
                        n += 1;
                    }
                })
            })
            .collect();
        for round in 0..300 {
            let order = if round % 2 == 0 { Order::Ascending } else { Order::Descending };
            let mut scan = Scan { order, limit: 0, ..Scan::new(KeyRange::all()) };
            let first = store.scan(Scan { limit: 40, ..scan.clone() }, call()).await.unwrap();
            // The rest at the version of the first page.
            let mut keys: Vec<_> = first.entries.iter().map(|entry| entry.key[0]).collect();
            let last = first.entries.last().unwrap().key.clone();
            scan.version = Some(first.version);
            scan.range = match order {
                Order::Ascending => scan.range.after(&last),
                Order::Descending => scan.range.before(&last),
            };
            let rest = store.scan(scan.clone(), call()).await.unwrap();
            keys.extend(rest.entries.iter().map(|entry| entry.key[0]));
            for lane in 0..8u8 {
                let there = (0..12).filter(|n| keys.contains(&(lane * 12 + n))).count();
                assert!(there >= 11, "lane {lane} has {there} of 12 at {}", first.version);
            }
            scan.range = KeyRange::all();
            let again = store.scan(scan, call()).await.unwrap();
            assert_eq!(again.entries.len(), keys.len(), "at {}", first.version);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await.unwrap();
    }
}
