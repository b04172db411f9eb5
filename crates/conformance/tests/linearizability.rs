//! Histories of many clients at once, each checked to be one that a single store could have had, one call at a time.
//!
//! The checker is todc-utils' `WGLChecker`: the algorithm of Wing, Gong and Lowe, which remembers what it has tried (as
//! porcupine does). stateright's tester does not, and never came to an end on some of these. What it has to find is an
//! order of all calls in which each answers as it did and none comes before one that had ended when it began. That
//! takes exponential time at worst, so:
//! - the histories are short: clients make a few calls each, and then all are waited for (a quiet point). The next
//!   history begins with what is read there;
//! - the model has all keys and the revision, which every answer of a write tells. So there is one order of the writes
//!   that can be right, and transactions over several keys are checked too.
//!
//! A write that was under way when the server was killed may have happened or not: it stays pending, and may come
//! anywhere after its beginning, also after all that is read, which is as good as never. It cannot happen after the
//! kill, so what is read at the next quiet point is the end of it.
//!
//! `NORIKV_LONG` makes it 100,000 calls instead of 5,000.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // they are tests

mod command;
mod worlds;

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use command::{Norikv, file};
use norikv_conformance::{Fixture, Setup, World, get, to_get, to_put, txn, when, within};
use norikv_core::{
    Call, CompareOp, CompareTarget, Delete, Error, ErrorKind, FieldName, Precondition, Put, Result, Store,
    StoreRef, Txn, TxnOpResult, Version,
};
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History as Actions},
    },
    specifications::Specification,
};
use tokio::task::JoinSet;
use worlds::{File, Memory, Served, remote, serve};

const CLIENTS: usize = 6;
/// How many calls a client makes from one quiet point to the next.
const CALLS: usize = 6;
const KEYS: [&str; 3] = ["a", "b", "c"];

fn long() -> bool {
    env::var_os("NORIKV_LONG").is_some()
}

fn calls() -> usize {
    if long() { 100_000 } else { 5_000 }
}

fn call() -> Call {
    Call::with_timeout(Duration::from_secs(20))
}

type Key = usize;
/// A value and its revision; `None` if the key is missing.
type Found = Option<(String, u64)>;

#[derive(Clone, Debug)]
enum Op {
    /// Not a call: what is there at the beginning.
    Begin(Model),
    Get(Key),
    Put(Key, String),
    Delete(Key),
    /// Puts at this revision and no other.
    Cas(Key, u64, String),
    /// Puts only if the key is missing.
    Create(Key, String),
    /// Reads the revision of the store.
    Revision,
    /// Reads two keys, and puts to both if the first has this revision (0: is missing).
    Txn {
        keys: [Key; 2],
        at: u64,
        value: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Begun,
    Found(Found),
    Written(u64),
    Deleted(bool, u64),
    Revision(u64),
    /// A condition does not hold; with the revision that is there.
    Refused(Option<u64>),
    Txn {
        succeeded: bool,
        revision: u64,
        found: [Found; 2],
    },
}

/// The store as one caller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Model {
    revision: u64,
    keys: BTreeMap<Key, (String, u64)>,
}

impl Model {
    fn write(&mut self, keys: &[Key], value: &str) -> u64 {
        self.revision += 1;
        for key in keys {
            self.keys.insert(*key, (value.to_owned(), self.revision));
        }
        self.revision
    }

    fn at(&self, key: Key) -> Option<u64> {
        self.keys.get(&key).map(|(_, revision)| *revision)
    }
}

/// A call, and what was answered: `None` is not known.
type Answered = (Op, Option<Ret>);

impl Specification for Model {
    type State = Self;
    type Operation = Answered;

    fn init() -> Self {
        Self::default()
    }

    fn apply((op, answered): &Answered, state: &Self) -> (bool, Self) {
        let mut state = state.clone();
        let ret = state.invoke(op);
        (answered.as_ref().is_none_or(|answered| *answered == ret), state)
    }
}

impl Model {
    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Begin(model) => {
                *self = model.clone();
                Ret::Begun
            }
            Op::Get(key) => Ret::Found(self.keys.get(key).cloned()),
            Op::Put(key, value) => Ret::Written(self.write(&[*key], value)),
            Op::Delete(key) => {
                let deleted = self.keys.remove(key).is_some();
                self.revision += u64::from(deleted);
                Ret::Deleted(deleted, self.revision)
            }
            Op::Cas(key, at, value) => match self.at(*key) {
                Some(found) if found == *at => Ret::Written(self.write(&[*key], value)),
                found => Ret::Refused(found),
            },
            Op::Create(key, value) => match self.at(*key) {
                None => Ret::Written(self.write(&[*key], value)),
                found => Ret::Refused(found),
            },
            Op::Revision => Ret::Revision(self.revision),
            Op::Txn { keys, at, value } => {
                let found = keys.map(|key| self.keys.get(&key).cloned());
                let succeeded = self.at(keys[0]).unwrap_or(0) == *at;
                if succeeded {
                    self.write(keys, value);
                }
                Ret::Txn { succeeded, revision: self.revision, found }
            }
        }
    }
}

/// Makes a call. `None`: nobody knows whether it happened.
async fn make(store: &dyn Store, op: &Op) -> Option<Ret> {
    let refused = |error: &Error| match error.kind() {
        ErrorKind::VersionMismatch | ErrorKind::AlreadyExists => {
            Some(Ret::Refused(error.version(FieldName::Actual).map(|version| version.index)))
        }
        // Not answered at all, because the server is gone.
        ErrorKind::Unavailable
        | ErrorKind::Connection
        | ErrorKind::NoNodesAvailable
        | ErrorKind::RetryExhausted
        | ErrorKind::DeadlineExceeded => None,
        _ => panic!("{op:?} failed: {error:?}"),
    };
    try_make(store, op).await.map_or_else(|error| refused(&error), Some)
}

async fn try_make(store: &dyn Store, op: &Op) -> Result<Ret> {
    let key = |key: Key| Bytes::from(KEYS[key]);
    let put = async |put: Put| Ok(Ret::Written(within(call(), store.put(put, call())).await?.version.index));
    match op.clone() {
        Op::Begin(_) => Ok(Ret::Begun),
        Op::Get(of) => Ok(Ret::Found(get(store, key(of)).await?.as_ref().map(found))),
        Op::Put(of, value) => put(Put::new(key(of), value)).await,
        Op::Delete(of) => {
            let done = within(call(), store.delete(Delete::new(key(of)), call())).await?;
            Ok(Ret::Deleted(done.deleted, done.version.index))
        }
        Op::Cas(of, at, value) => {
            let precondition = Precondition::Version(Version::new(1, at));
            put(Put { precondition, ..Put::new(key(of), value) }).await
        }
        Op::Create(of, value) => {
            put(Put { precondition: Precondition::NotExists, ..Put::new(key(of), value) }).await
        }
        Op::Revision => Ok(Ret::Revision(within(call(), store.status(call())).await?.version.index)),
        Op::Txn { keys: [a, b], at, value } => {
            let at = if at == 0 { Version::ZERO } else { Version::new(1, at) };
            let request = Txn {
                compares: vec![when(key(a), CompareOp::Equal, CompareTarget::Version(at))],
                then: vec![
                    to_get(key(a)),
                    to_get(key(b)),
                    to_put(key(a), value.clone()),
                    to_put(key(b), value),
                ],
                otherwise: vec![to_get(key(a)), to_get(key(b))],
            };
            let done = txn(store, request).await?;
            let read = |at: usize| match &done.results[at] {
                TxnOpResult::Get(entry) => entry.as_ref().map(found),
                result => panic!("{result:?} to a get"),
            };
            Ok(Ret::Txn {
                succeeded: done.succeeded,
                revision: done.version.index,
                found: [read(0), read(1)],
            })
        }
    }
}

fn found(entry: &norikv_core::Entry) -> (String, u64) {
    (String::from_utf8(entry.value.to_vec()).unwrap(), entry.version.index)
}

fn random(seen: u64, value: String) -> Op {
    let key = fastrand::usize(..KEYS.len());
    // One that may be there: what the client saw last, or a bit later.
    let at = seen + fastrand::u64(..2);
    match fastrand::u8(..12) {
        0..4 => Op::Get(key),
        4..6 => Op::Put(key, value),
        6 => Op::Delete(key),
        7..9 => Op::Cas(key, at.max(1), value),
        9 => Op::Create(key, value),
        _ => {
            Op::Txn { keys: [key, (key + 1) % KEYS.len()], at: if fastrand::bool() { at } else { 0 }, value }
        }
    }
}

/// A call that begins or ends, by the name of its client.
#[derive(Clone, Debug)]
enum Event {
    Begins(usize, Op),
    Ends(usize, Ret),
}

/// The calls of all clients from one quiet point to the next, in the order in which they begin and end.
struct History {
    begin: Model,
    events: Mutex<Vec<Event>>,
}

impl History {
    fn from(begin: Model) -> Arc<Self> {
        Arc::new(Self { begin, events: Mutex::default() })
    }

    fn add(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// Makes a call and records it.
    async fn make(&self, store: &dyn Store, client: usize, op: Op) -> Option<Ret> {
        self.add(Event::Begins(client, op.clone()));
        let ret = make(store, &op).await?;
        self.add(Event::Ends(client, ret.clone()));
        Some(ret)
    }

    /// Reads everything, as one more client, while no other makes a call.
    async fn quiet(&self, store: &dyn Store) -> Model {
        let mut model = Model::default();
        for key in 0..KEYS.len() {
            let Some(Ret::Found(found)) = self.make(store, CLIENTS, Op::Get(key)).await else {
                panic!("{key} cannot be read");
            };
            model.keys.extend(found.map(|found| (key, found)));
        }
        let Some(Ret::Revision(revision)) = self.make(store, CLIENTS, Op::Revision).await else {
            panic!("the revision cannot be read");
        };
        Model { revision, ..model }
    }

    /// How many calls were answered.
    fn answered(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|event| matches!(event, Event::Ends(..))).count()
    }

    /// Whether a single store could have answered so.
    fn is_linearizable(&self) -> bool {
        let events = self.events.lock().unwrap();
        let begin = Op::Begin(self.begin.clone());
        let first = [Action::Call((begin.clone(), None)), Action::Response((begin, Some(Ret::Begun)))];
        let mut actions: Vec<_> = first.into_iter().map(|action| (CLIENTS + 1, action)).collect();
        // The call of each client that is under way.
        let mut pending = BTreeMap::new();
        for event in events.iter() {
            match event {
                Event::Begins(client, op) => {
                    pending.insert(*client, op.clone());
                    actions.push((*client, Action::Call((op.clone(), None))));
                }
                Event::Ends(client, ret) => {
                    let op = pending.remove(client).unwrap();
                    actions.push((*client, Action::Response((op, Some(ret.clone())))));
                }
            }
        }
        actions.extend(pending.into_iter().map(|(client, op)| (client, Action::Response((op, None)))));
        WGLChecker::<Model>::is_linearizable(Actions::from_actions(actions))
    }

    #[track_caller]
    fn check(&self) {
        if !self.is_linearizable() {
            let events: Vec<_> =
                self.events.lock().unwrap().iter().map(|event| format!("{event:?}\n")).collect();
            panic!("no single store answers so, from {:?}:\n{}", self.begin, events.concat());
        }
    }
}

/// Makes a few calls as one client, until one is not answered.
async fn client(store: StoreRef, history: Arc<History>, client: usize, name: String) {
    let mut seen = history.begin.revision;
    for n in 0..CALLS {
        let op = random(seen, format!("{name}.{client}.{n}"));
        let Some(ret) = history.make(&*store, client, op).await else { return };
        seen = match ret {
            Ret::Found(found) => found.map_or(seen, |(_, revision)| revision),
            Ret::Written(revision)
            | Ret::Deleted(_, revision)
            | Ret::Revision(revision)
            | Ret::Txn { revision, .. } => revision,
            Ret::Refused(found) => found.unwrap_or(seen),
            Ret::Begun => seen,
        };
    }
}

/// Begins the calls of all clients, spread over ways to one store.
fn begin(stores: &[StoreRef], history: &Arc<History>, name: &str) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let store = StoreRef::clone(&stores[n % stores.len()]);
        clients.spawn(client(store, Arc::clone(history), n, name.to_owned()));
    }
    clients
}

async fn end(mut clients: JoinSet<()>) {
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// Histories of so many calls in all, on ways to one store that nobody else uses.
async fn check(stores: &[StoreRef], calls: usize) {
    let mut model = History::from(Model::default()).quiet(&*stores[0]).await;
    let mut made = 0;
    for round in 0.. {
        if made >= calls {
            return;
        }
        let history = History::from(model);
        end(begin(stores, &history, &round.to_string())).await;
        model = history.quiet(&*stores[round % stores.len()]).await;
        history.check();
        made += history.answered();
    }
}

async fn check_world(world: impl World) {
    let fixture: Fixture = world.open(Setup::default()).await.unwrap();
    check(&[StoreRef::clone(&fixture.store)], calls()).await;
    fixture.owner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_store_in_memory_are_linearizable() {
    check_world(Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_store_on_disk_are_linearizable() {
    check_world(File::FSYNC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_store_that_reads_from_disk_are_linearizable() {
    check_world(File::UNCACHED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_one_connection_are_linearizable() {
    check_world(Served::new(Memory)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_three_connections_and_without_one_are_linearizable() {
    let fixture = Memory.open(Setup::default()).await.unwrap();
    let server = serve(StoreRef::clone(&fixture.store), false).await.unwrap();
    let mut stores = vec![StoreRef::clone(&fixture.store)];
    stores.extend((0..3).map(|_| remote(server.local_addr()).unwrap()));
    check(&stores, calls()).await;
    for store in stores.drain(1..) {
        store.close().await.unwrap();
    }
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    fixture.owner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_server_that_is_killed_and_started_again_are_linearizable() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    let (mut made, mut doubtful) = (0, 0);
    let mut killed: Option<Arc<History>> = None;
    for round in 0.. {
        let norikv = Norikv::serve(&store, &[]);
        let stores: Vec<_> = (0..3).map(|_| remote(norikv.address()).unwrap()).collect();
        // What was under way when the server was killed has happened by now, or never will.
        let mut model = match killed.take() {
            Some(history) => {
                let model = history.quiet(&*stores[0]).await;
                history.check();
                made += history.answered();
                model
            }
            None => History::from(Model::default()).quiet(&*stores[0]).await,
        };
        for quiet in 0..if long() { 40 } else { 8 } {
            let history = History::from(model);
            end(begin(&stores, &history, &format!("{round}.{quiet}"))).await;
            model = history.quiet(&*stores[quiet % stores.len()]).await;
            history.check();
            made += history.answered();
        }
        let history = History::from(model);
        let clients = begin(&stores, &history, &format!("{round}.killed"));
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..8_000))).await;
        norikv.kill();
        end(clients).await;
        let events = history.events.lock().unwrap().clone();
        doubtful += events.iter().filter(|event| matches!(event, Event::Begins(..))).count()
            - events.iter().filter(|event| matches!(event, Event::Ends(..))).count();
        killed = Some(history);
        for store in stores {
            store.close().await.unwrap();
        }
        if made >= calls() {
            break;
        }
    }
    assert!(doubtful > 0, "no call was under way when the server was killed");
}

/// A history that is written down: who calls, what, and what was answered, one after the other.
fn written(calls: &[(usize, Op, Option<Ret>)]) -> Arc<History> {
    let history = History::from(Model::default());
    for (client, op, ret) in calls {
        history.add(Event::Begins(*client, op.clone()));
        if let Some(ret) = ret {
            history.add(Event::Ends(*client, ret.clone()));
        }
    }
    history
}

fn at(value: &str, revision: u64) -> Found {
    Some((value.to_owned(), revision))
}

#[test]
fn a_stale_read_is_found() {
    let put = |value: &str, revision| (0, Op::Put(0, value.into()), Some(Ret::Written(revision)));
    let read = |found| (1, Op::Get(0), Some(Ret::Found(found)));
    written(&[put("old", 1), put("new", 2), read(at("new", 2))]).check();
    assert!(!written(&[put("old", 1), put("new", 2), read(at("old", 1))]).is_linearizable());
    assert!(!written(&[put("old", 1), read(None)]).is_linearizable());
    // It is one because the put had ended; while that is under way, both are right.
    for found in [None, at("new", 1)] {
        let history = History::from(Model::default());
        history.add(Event::Begins(0, Op::Put(0, "new".into())));
        history.add(Event::Begins(1, Op::Get(0)));
        history.add(Event::Ends(1, Ret::Found(found)));
        history.add(Event::Ends(0, Ret::Written(1)));
        history.check();
    }
}

#[test]
fn a_lost_update_and_a_torn_transaction_are_found() {
    let put = (0, Op::Put(0, "v".into()), Some(Ret::Written(1)));
    let cas = |client, revision| (client, Op::Cas(0, 1, "w".into()), Some(Ret::Written(revision)));
    assert!(!written(&[put.clone(), cas(0, 2), cas(1, 3)]).is_linearizable());
    let both = Op::Txn { keys: [0, 1], at: 1, value: "t".into() };
    let done = Ret::Txn { succeeded: true, revision: 2, found: [at("v", 1), None] };
    let read = |key, found| (1, Op::Get(key), Some(Ret::Found(found)));
    let txn = (0, both, Some(done));
    written(&[put.clone(), txn.clone(), read(0, at("t", 2)), read(1, at("t", 2))]).check();
    assert!(!written(&[put.clone(), txn.clone(), read(0, at("t", 2)), read(1, None)]).is_linearizable());
    // Two of one revision, and one that is left out.
    assert!(!written(&[put.clone(), (1, Op::Put(1, "v".into()), Some(Ret::Written(1)))]).is_linearizable());
    assert!(!written(&[put, (1, Op::Put(1, "v".into()), Some(Ret::Written(3)))]).is_linearizable());
}

#[test]
fn a_write_in_doubt_may_have_happened_or_not_and_does_not_change_its_mind() {
    let doubt = (0, Op::Put(0, "v".into()), None);
    let read = |found| (1, Op::Get(0), Some(Ret::Found(found)));
    let revision = |revision| (1, Op::Revision, Some(Ret::Revision(revision)));
    written(&[doubt.clone(), read(None), revision(0)]).check();
    written(&[doubt.clone(), read(at("v", 1)), revision(1)]).check();
    written(&[doubt.clone(), read(None), read(at("v", 1))]).check();
    assert!(!written(&[doubt.clone(), read(at("v", 1)), read(None)]).is_linearizable());
    assert!(!written(&[doubt, read(None), revision(2)]).is_linearizable());
}
