//! Histories of many clients at once, and whether a single store could have had them, one call at a time.
//!
//! The checker is todc-utils' `WGLChecker`: the algorithm of Wing, Gong and Lowe, which remembers what it has tried (as
//! porcupine does). stateright's tester does not, and never came to an end on some of these. What it has to find is an
//! order of all calls in which each answers as it did and none comes before one that had ended when it began. That
//! takes exponential time at worst. The model has all keys and the revision, which every answer of a write tells: so
//! there is one order of the writes that can be right, and transactions over several keys are checked too.
//!
//! A write that was not answered may have happened or not: it stays pending, and may come anywhere after its beginning,
//! also after all that is read, which is as good as never.
#![allow(dead_code)] // Each test file is a crate of its own and uses some of it.

pub(crate) mod calls;
pub(crate) mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use calls::make;
pub(crate) use calls::{Answer, KEYS};
use model::Outcome;
pub(crate) use model::{Found, Model, Op, Ret};
use norikv_core::{Store, StoreRef};
use todc_utils::linearizability::{
    WGLChecker,
    history::{Action, History as Actions},
};
use tokio::task::JoinSet;

pub(crate) const CLIENTS: usize = 6;
/// How many calls a client makes from one quiet point to the next.
const CALLS: usize = 6;

pub(crate) fn random(seen: u64, value: String) -> Op {
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
pub(crate) enum Event {
    Begins(usize, Op),
    Ends(usize, Ret),
    /// The call did nothing.
    Fails(usize),
}

/// How long a call may take where nothing stands in its way.
const CALL: Duration = Duration::from_secs(20);

/// The calls of all clients from one quiet point to the next, in the order in which they begin and end.
pub(crate) struct History {
    pub(crate) begin: Model,
    pub(crate) events: Mutex<Vec<Event>>,
}

impl History {
    pub(crate) fn from(begin: Model) -> Arc<Self> {
        Arc::new(Self { begin, events: Mutex::default() })
    }

    pub(crate) fn add(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// Makes a call and records it.
    pub(crate) async fn make(&self, store: &dyn Store, client: usize, op: Op) -> Option<Ret> {
        match self.make_within(store, client, op, CALL).await {
            Answer::Is(ret) => Some(ret),
            Answer::Unknown | Answer::Never => None,
        }
    }

    /// Makes a call that has so much time, and records it. A client whose call is in doubt goes on.
    pub(crate) async fn make_within(
        &self,
        store: &dyn Store,
        client: usize,
        op: Op,
        most: Duration,
    ) -> Answer {
        self.add(Event::Begins(client, op.clone()));
        let answer = make(store, &op, most).await;
        match &answer {
            Answer::Is(ret) => self.add(Event::Ends(client, ret.clone())),
            Answer::Never => self.add(Event::Fails(client)),
            Answer::Unknown => {}
        }
        answer
    }

    /// Reads everything, as one more client, while no other makes a call.
    pub(crate) async fn quiet(&self, store: &dyn Store) -> Model {
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
    pub(crate) fn answered(&self) -> usize {
        self.events.lock().unwrap().iter().filter(|event| matches!(event, Event::Ends(..))).count()
    }

    /// How many writes were not answered.
    pub(crate) fn doubtful(&self) -> usize {
        self.doubts().len()
    }

    /// The writes of which nobody knows whether they happened, by the places of their beginnings.
    fn doubts(&self) -> BTreeMap<usize, Op> {
        let mut pending = BTreeMap::new();
        let mut doubts = BTreeMap::new();
        for (at, event) in self.events.lock().unwrap().iter().enumerate() {
            match event {
                Event::Begins(client, op) => {
                    pending.insert(*client, at);
                    doubts.insert(at, op.clone());
                }
                Event::Ends(client, _) | Event::Fails(client) => {
                    doubts.remove(&pending.remove(client).unwrap());
                }
            }
        }
        doubts.retain(|_, op| op.is_write());
        doubts
    }

    /// The revisions that a write in doubt may have: those that no answer has for its own and no value of another write
    /// was read with. Each write has one and none is left out, so more than that would not be right, and trying it would
    /// take for ever.
    fn free(&self, doubt: &Op) -> BTreeSet<u64> {
        let events = self.events.lock().unwrap();
        let rets = || {
            events.iter().filter_map(|event| match event {
                Event::Ends(_, ret) => Some(ret),
                Event::Begins(..) | Event::Fails(_) => None,
            })
        };
        let seen = || rets().flat_map(Ret::found);
        let own = seen().find(|(value, _)| Some(&**value) == doubt.value());
        if let Some((_, revision)) = own {
            return BTreeSet::from([*revision]);
        }
        let last = rets().map(Ret::newest).max().unwrap_or(0);
        let mut free: BTreeSet<u64> = (self.begin.revision + 1..=last).collect();
        for revision in rets().filter_map(Ret::written).chain(seen().map(|(_, revision)| *revision)) {
            free.remove(&revision);
        }
        free
    }

    /// Whether a single store could have answered so.
    pub(crate) fn is_linearizable(&self) -> bool {
        let doubts = self.doubts();
        let open: BTreeMap<usize, Outcome> =
            doubts.iter().map(|(at, op)| (*at, Outcome::Open(Arc::new(self.free(op))))).collect();
        let nothing = |name: usize, op: Op| {
            let answered = (op, Outcome::Is(Ret::Nothing));
            [(name, Action::Call(answered.clone())), (name, Action::Response(answered))]
        };
        let events = self.events.lock().unwrap();
        // Each call has a name of its own: its place.
        let mut actions = Vec::from(nothing(events.len(), Op::Begin(self.begin.clone())));
        let mut pending = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::Begins(client, op) => {
                    pending.insert(*client, (at, actions.len()));
                    // What becomes of it is told by its end.
                    let outcome = open.get(&at).cloned().unwrap_or(Outcome::Is(Ret::Nothing));
                    actions.push((at, Action::Call((op.clone(), outcome))));
                }
                Event::Ends(client, ret) => {
                    let (begun, at) = pending.remove(client).unwrap();
                    let Action::Call((op, _)) = &actions[at].1 else { unreachable!("it began there") };
                    actions.push((begun, Action::Response((op.clone(), Outcome::Is(ret.clone())))));
                }
                Event::Fails(_) => {}
            }
        }
        let answered: BTreeSet<usize> = actions
            .iter()
            .filter(|(_, action)| matches!(action, Action::Response(_)))
            .map(|(at, _)| *at)
            .collect();
        // What failed, and reads that were not answered, say nothing.
        actions.retain(|(at, _)| answered.contains(at) || open.contains_key(at));
        actions.extend(nothing(events.len() + 1, Op::End));
        actions.extend(
            open.into_iter().map(|(at, outcome)| (at, Action::Response((doubts[&at].clone(), outcome)))),
        );
        WGLChecker::<Model>::is_linearizable(Actions::from_actions(actions))
    }

    #[track_caller]
    pub(crate) fn check(&self) {
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
        seen = if ret.newest() == 0 { seen } else { ret.newest() };
    }
}

/// Begins the calls of all clients, spread over ways to one store.
pub(crate) fn begin(stores: &[StoreRef], history: &Arc<History>, name: &str) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let store = StoreRef::clone(&stores[n % stores.len()]);
        clients.spawn(client(store, Arc::clone(history), n, name.to_owned()));
    }
    clients
}

pub(crate) async fn end(mut clients: JoinSet<()>) {
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// A history that is written down: who calls, what, and what was answered, one after the other.
pub(crate) fn written(calls: &[(usize, Op, Option<Ret>)]) -> Arc<History> {
    let history = History::from(Model::default());
    for (client, op, ret) in calls {
        history.add(Event::Begins(*client, op.clone()));
        if let Some(ret) = ret {
            history.add(Event::Ends(*client, ret.clone()));
        }
    }
    history
}

pub(crate) fn at(value: &str, revision: u64) -> Found {
    Some((value.to_owned(), revision))
}
