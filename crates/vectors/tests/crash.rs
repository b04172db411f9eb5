//! Processes that are killed in the middle of inserts, of savings and of buildings: every vector that was acknowledged is there
//! and found, and none that was deleted.
//!
//! Each test starts this test program again as a child that writes and says what was acknowledged. `NORIKV_LONG` makes it
//! 30 kills instead of 6.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{call, create, get, index, long, near, open_at, search_for};
use norikv_core::{
    DistanceFunction, Quantization, Store, VectorDelete, VectorIndexType, VectorInsert, VectorItem,
    VectorSearch,
};
use norikv_embedded::Settings;

const DIRECTORY: &str = "NORIKV_TEST_CHILD_DIRECTORY";
const FROM: &str = "NORIKV_TEST_CHILD_FROM";
const LANES: u64 = 4;
/// How many ids a lane has: in all more than a graph begins with.
const IDS: u64 = 500;
const DIMENSIONS: u32 = 8;

/// What a lane does at one step: puts some of its ids, or deletes one.
enum Step {
    Put(Vec<String>),
    Delete(String),
}

fn step(lane: u64, n: u64) -> Step {
    let mut random = fastrand::Rng::with_seed(lane << 32 | n);
    let mut id = |n: u64| format!("{lane}/{}", (n + random.u64(..IDS)) % IDS);
    if n % 8 == 7 {
        return Step::Delete(id(0));
    }
    let mut ids: Vec<String> = (0..20).map(&mut id).collect();
    ids.sort_unstable();
    ids.dedup();
    Step::Put(ids)
}

/// The vector that an id has since a step.
fn vector(id: &str, n: u64) -> Vec<f32> {
    let seed = id.bytes().fold(n, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = fastrand::Rng::with_seed(seed);
    (0..DIMENSIONS).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Not a test: what the children do. Four lanes write, one step after the other, and say each that was acknowledged. Graphs are
/// saved all the time.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, _) = open_at(Path::new(&directory), Settings::default(), Duration::ZERO).await;
        let index =
            index("n", DIMENSIONS, DistanceFunction::Euclidean, VectorIndexType::Hnsw, Quantization::None);
        create(&store, index).await;
        println!("open");
        let lanes = (0..LANES).map(|lane| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in from.. {
                    let namespace = "n".to_owned();
                    match step(lane, n) {
                        Step::Put(ids) => {
                            let item = |id: &String| VectorItem { id: id.clone(), vector: vector(id, n) };
                            let vectors = ids.iter().map(item).collect();
                            let insert = VectorInsert { namespace, vectors, idempotency_key: None };
                            store.vector_insert(insert, call()).await.unwrap();
                        }
                        Step::Delete(id) => {
                            let delete = VectorDelete { namespace, id, idempotency_key: None };
                            store.vector_delete(delete, call()).await.unwrap();
                        }
                    }
                    println!("ok {lane} {n}");
                    let _ = std::io::stdout().flush();
                }
            })
        });
        futures_util::future::join_all(lanes).await;
    });
}

fn start(directory: &Path, from: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What is known of the vectors: the step since which an id has its vector.
type Model = BTreeMap<String, u64>;

fn apply(model: &mut Model, lane: u64, n: u64) {
    match step(lane, n) {
        Step::Put(ids) => model.extend(ids.into_iter().map(|id| (id, n))),
        Step::Delete(id) => drop(model.remove(&id)),
    }
}

/// What a process does that is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It inserts.
    Inserting,
    /// It writes the file of a graph.
    Saving,
    /// It builds a graph, since it has the first vectors of one or its file is gone.
    Building,
}

/// Reads what a child says until the moment has come, kills it, and reads the rest.
fn kill_at(moment: Moment, mut child: Child, directory: &Path, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut note = |line: String| -> usize {
        let mut words = line.split(' ');
        if words.next() != Some("ok") {
            return 0;
        }
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        acknowledged.insert(number(), number());
        1
    };
    let files = directory.join("vectors");
    let wanted = 100 + fastrand::usize(..150);
    let mut seen = 0;
    for line in lines.by_ref() {
        seen += note(line);
        let now = match moment {
            Moment::Inserting => seen >= wanted,
            Moment::Building => seen >= 8 + wanted / 10,
            Moment::Saving => seen > 100,
        };
        if now {
            break;
        }
    }
    assert!(seen > 0, "the child ended by itself");
    if matches!(moment, Moment::Saving) {
        // A file under another name is one that is being written.
        let is_saving = || {
            let files = std::fs::read_dir(&files).into_iter().flatten();
            files.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == "new"))
        };
        let begun = std::time::Instant::now();
        while !is_saving() {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing is saved");
            // What it says has to be read, for it to go on.
            if let Some(line) = lines.next() {
                note(line);
            }
        }
    }
    child.kill().unwrap();
    for line in lines {
        note(line);
    }
    child.wait().unwrap();
}

/// Opens what a killed process left, and compares it with what it said. Answers the step to go on from.
async fn check(directory: &Path, model: &mut Model, acknowledged: &BTreeMap<u64, u64>, from: u64) -> u64 {
    let (store, _) = open_at(directory, Settings::default(), Duration::from_secs(30)).await;
    let mut next = from;
    for lane in 0..LANES {
        let to = acknowledged.get(&lane).map_or(from, |last| last + 1);
        (from..to).for_each(|n| apply(model, lane, n));
        next = next.max(to + 1);
        // The step that was under way may have happened, wholly.
        let mut whole = model.clone();
        apply(&mut whole, lane, to);
        let changed: Vec<String> = match step(lane, to) {
            Step::Put(ids) => ids,
            Step::Delete(id) => vec![id],
        };
        let mut is_old = true;
        let mut is_new = true;
        for id in &changed {
            let found = get(&*store, "n", id).await;
            let of = |model: &Model| model.get(id).map(|n| vector(id, *n));
            is_old &= found == of(model);
            is_new &= found == of(&whole);
        }
        assert!(is_old || is_new, "lane {lane}: step {to} happened in part");
        if is_new {
            *model = whole;
        }
    }
    let info = store.vector_indexes(call()).await.unwrap().remove(0);
    assert_eq!(info.vectors, model.len() as u64);
    let mut by_graph = 0;
    for lane in 0..LANES {
        for n in 0..IDS {
            let id = format!("{lane}/{n}");
            let expected = model.get(&id).map(|n| vector(&id, *n));
            let got = get(&*store, "n", &id).await;
            assert_eq!(got, expected, "{id}");
            let query = expected.clone().unwrap_or_else(|| vec![0.5; DIMENSIONS as usize]);
            // Looked for by itself, it is found, whatever the graph is like.
            let one =
                VectorSearch { id_prefix: id.clone(), include_vectors: true, ..near("n", &query, 1_000) };
            let found = search_for(&*store, one).await.into_iter().find(|found| found.id == id);
            assert_eq!(found.as_ref().map(|found| found.distance), expected.as_ref().map(|_| 0.0), "{id}");
            assert_eq!(found.and_then(|found| found.vector), expected, "{id}");
            if expected.is_some() {
                let found = search_for(&*store, near("n", &query, 1)).await;
                by_graph += usize::from(found[0].id == id && found[0].distance <= 0.0);
            }
        }
    }
    assert!(by_graph * 100 >= model.len() * 98, "{by_graph} of {} are nearest to themselves", model.len());
    store.close().await.unwrap();
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_vector_survives_kill_9_and_no_deleted_one_returns() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("vectors");
    let (mut model, mut from) = (Model::new(), 0);
    for round in 0..if long() { 30 } else { 6 } {
        let moment = [Moment::Inserting, Moment::Saving, Moment::Building][round % 3];
        if matches!(moment, Moment::Building) {
            std::fs::remove_dir_all(&files).unwrap();
        }
        let mut acknowledged = BTreeMap::new();
        kill_at(moment, start(directory.path(), from), directory.path(), &mut acknowledged);
        from = check(directory.path(), &mut model, &acknowledged, from).await;
        println!("round {round}: {moment:?}, {} vectors, step {from}", model.len());
    }
}
