//! Histories of clients of three members of etcd, directly and through our servers, while members are killed, paused, cut
//! off from each other, and made to lead: each checked to be one that a single store could have had.
//!
//! `NORIKV_LONG` makes it five worlds of each kind instead of one.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // they are tests

mod etcd_cluster;
mod histories;
mod worlds;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use etcd_cluster::{long, store, store_from, three, until};
use histories::{Answer, CLIENTS, Event, History, KEYS, Model, Op, Ret, calls::found, model::Key};
use norikv_conformance::{EtcdCluster, within};
use norikv_core::{Call, Consistency, Entry, Get, Store, StoreRef};
use tokio::{task::JoinSet, time::sleep};
use worlds::{remote, serve};

/// How long a call may take: not much longer than etcd needs for another leader.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a fault goes on after the others have a leader.
const FAULT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Pause,
    Isolate,
    Move,
}

/// Does each of it to the member that leads and to one that does not.
async fn disturb(cluster: &EtcdCluster) {
    let mut faults: Vec<(Fault, bool)> = [Fault::Kill, Fault::Pause, Fault::Isolate]
        .into_iter()
        .flat_map(|fault| [(fault, true), (fault, false)])
        .chain([(Fault::Move, false)])
        .collect();
    fastrand::shuffle(&mut faults);
    for (fault, leads) in faults {
        let leader = cluster.some_leader().await.unwrap();
        let member = if leads { leader } else { (leader + fastrand::usize(1..3)) % 3 };
        match fault {
            Fault::Kill => cluster.kill(member),
            Fault::Pause => cluster.pause(member),
            Fault::Isolate => cluster.isolate(member),
            Fault::Move => cluster.move_leader(member).await.unwrap(),
        }
        cluster.some_leader().await.unwrap();
        if !matches!(fault, Fault::Move) {
            sleep(FAULT).await;
        }
        match fault {
            Fault::Kill => cluster.restart(member).unwrap(),
            Fault::Pause => cluster.resume(member),
            Fault::Isolate => cluster.heal(),
            Fault::Move => {}
        }
        cluster.healthy().await.unwrap();
    }
}

/// A call on registers that are compared and set, at what was seen of them last.
fn register(seen: &[u64; KEYS.len()], value: String) -> (Key, Op) {
    let key = fastrand::usize(..KEYS.len());
    let at = seen[key];
    let op = match fastrand::u8(..12) {
        0..4 => Op::Get(key),
        4..8 if at > 0 => Op::Cas(key, at, value),
        4..9 => Op::Create(key, value),
        9 => Op::Delete(key),
        10 => Op::Put(key, value),
        _ => Op::Txn { keys: [key, (key + 1) % KEYS.len()], at, value },
    };
    (key, op)
}

/// Makes calls as one client until the end, whatever became of the one before.
async fn client(
    store: StoreRef,
    history: Arc<History>,
    client: usize,
    ended: Arc<AtomicBool>,
    won: Arc<AtomicU64>,
) {
    let mut seen = [0; KEYS.len()];
    for n in 0_u64.. {
        if ended.load(Ordering::Acquire) {
            return;
        }
        let (key, op) = register(&seen, format!("{client}.{n}"));
        match history.make_within(&*store, client, op.clone(), TIMEOUT).await {
            Answer::Is(ret) => {
                let changed = matches!(ret, Ret::Written(_));
                won.fetch_add(u64::from(changed && matches!(op, Op::Cas(..))), Ordering::Relaxed);
                seen[key] = match ret {
                    Ret::Deleted(..) => 0,
                    // What a transaction found, it may have overwritten.
                    Ret::Txn { succeeded: false, found: [first, _], .. } => first.map_or(0, |(_, at)| at),
                    ret => ret.newest(),
                };
            }
            Answer::Unknown | Answer::Never => sleep(Duration::from_millis(20)).await,
        }
        // Not so many that they are not checked in time.
        sleep(Duration::from_millis(fastrand::u64(1..20))).await;
    }
}

/// A history of clients of all these ways to one cluster, while it is disturbed.
async fn check(cluster: &EtcdCluster, stores: &[StoreRef]) {
    let begin = History::from(Model::default()).quiet(&*stores[0]).await;
    let history = History::from(begin);
    let (ended, won) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let store = StoreRef::clone(&stores[n % stores.len()]);
        clients.spawn(client(store, Arc::clone(&history), n, Arc::clone(&ended), Arc::clone(&won)));
    }
    disturb(cluster).await;
    ended.store(true, Ordering::Release);
    histories::end(clients).await;
    history.quiet(&*stores[0]).await;
    let checked = Instant::now();
    history.check();
    let (answered, won) = (history.answered(), won.load(Ordering::Relaxed));
    println!(
        "{answered} calls answered, {won} values compared and set, {} writes in doubt, checked in {:?}",
        history.doubtful(),
        checked.elapsed()
    );
    assert!(answered > 300 && won > 20, "{answered}, {won}");
}

/// Three that know all members, and one for each that knows no other.
fn ways(cluster: &EtcdCluster) -> Vec<StoreRef> {
    (0..3).flat_map(|member| [store(cluster), store_from(cluster, member)]).collect()
}

fn worlds_of_each_kind() -> usize {
    if long() { 5 } else { 1 }
}

async fn close(stores: Vec<StoreRef>) {
    for store in stores {
        within(Call::default(), store.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_three_members_are_linearizable_whatever_happens_to_one() {
    for _ in 0..worlds_of_each_kind() {
        let cluster = three().await;
        let stores = ways(&cluster);
        check(&cluster, &stores).await;
        close(stores).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_servers_before_three_members_are_linearizable_whatever_happens_to_one() {
    for _ in 0..worlds_of_each_kind() {
        let cluster = three().await;
        let (behind, mut servers, mut stores) = (ways(&cluster), Vec::new(), Vec::new());
        for store in &behind {
            let server = serve(StoreRef::clone(store), false).await.unwrap();
            stores.push(remote(server.local_addr()).unwrap());
            servers.push(server);
        }
        check(&cluster, &stores).await;
        close(stores).await;
        for server in servers {
            server.shutdown(Duration::from_secs(5)).await.unwrap();
        }
        close(behind).await;
    }
}

async fn old(store: &dyn Store) -> Option<Entry> {
    let request = Get { key: KEYS[0].into(), consistency: Consistency::StaleOk };
    within(Call::default(), store.get(request, Call::default())).await.unwrap()
}

/// What the histories above would not be if reads took what a member has that is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_with_an_old_read_of_a_member_that_is_cut_off_is_refused() {
    let cluster = three().await;
    let member = (cluster.some_leader().await.unwrap() + 1) % 3;
    let (minority, others) = (store_from(&cluster, member), store_from(&cluster, (member + 1) % 3));
    let history = History::from(History::from(Model::default()).quiet(&*others).await);
    history.make(&*others, 0, Op::Put(0, "old".into())).await.unwrap();
    until("the write is everywhere", async || old(&*minority).await.is_some()).await;
    cluster.isolate(member);
    history.make(&*others, 0, Op::Put(0, "new".into())).await.unwrap();
    // One that does not take old gets no answer, and that is right.
    assert!(matches!(
        history.make_within(&*minority, 1, Op::Get(0), TIMEOUT).await,
        Answer::Unknown | Answer::Never
    ));
    history.make(&*others, 0, Op::Get(0)).await.unwrap();
    history.check();
    history.add(Event::Begins(1, Op::Get(0)));
    history.add(Event::Ends(1, Ret::Found(old(&*minority).await.as_ref().map(found))));
    assert!(!history.is_linearizable());
    close(vec![minority, others]).await;
}
