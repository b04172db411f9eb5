//! Inserts, replacements, deletes and searches from sixteen callers at once, against an exact model.
//!
//! `NORIKV_LONG` makes it go on for a minute.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    call, clustered, create, distance_of, drop_index, in_time, index, long, near, open_at, search_for,
    until_indexed,
};
use norikv_core::{
    DistanceFunction, Quantization, Store, VectorIndexType, VectorInsert, VectorItem, VectorMatch,
    VectorSearch,
};
use norikv_embedded::Settings;
use norikv_vectors::VectorStore;

const LANES: usize = 16;
const DIMENSIONS: usize = 24;

/// What an id was from one write on: a vector, or nothing.
#[derive(Clone)]
struct State {
    begun: u64,
    acknowledged: Option<u64>,
    vector: Option<Vec<f32>>,
}

/// What every id was, lately: the states that a search under way may still see.
#[derive(Default)]
struct Model {
    clock: AtomicU64,
    ids: Mutex<BTreeMap<String, Vec<State>>>,
}

impl Model {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn begin(&self, id: &str, vector: Option<Vec<f32>>) {
        let mut ids = self.ids.lock().unwrap();
        let states = ids.entry(id.to_owned()).or_default();
        states.push(State { begun: self.now(), acknowledged: None, vector });
        // No search goes on for so many writes to one id.
        if states.len() > 64 {
            states.remove(0);
        }
    }

    fn acknowledge(&self, id: &str) {
        self.ids.lock().unwrap().get_mut(id).unwrap().last_mut().unwrap().acknowledged = Some(self.now());
    }

    /// What an id may have been at some moment between two.
    fn possible(states: &[State], start: u64, end: u64) -> Vec<&State> {
        let over = |at: usize| {
            states.get(at + 1).is_some_and(|next| next.acknowledged.is_some_and(|time| time < start))
        };
        let possible = states.iter().enumerate().filter(|(at, state)| state.begun < end && !over(*at));
        possible.map(|(_, state)| state).collect()
    }

    /// Fails if something was found that was not there; answers how many of the nearest were to be found, and were.
    fn check(&self, seen: &Seen<'_>) -> (usize, usize) {
        let ids = self.ids.lock().unwrap();
        let (start, end) = (seen.start, seen.end);
        for found in &seen.matches {
            let states = ids.get(&found.id).unwrap_or_else(|| panic!("{} was never inserted", found.id));
            let possible = Self::possible(states, start, end);
            let is_it = |state: &&State| {
                state.vector.as_ref().is_some_and(|vector| {
                    let distance = distance_of(seen.distance, seen.query, vector);
                    let near = (distance - f64::from(found.distance)).abs() < 1e-4 * (1.0 + distance.abs());
                    near && found.vector.as_ref().is_none_or(|found| found == vector)
                })
            };
            assert!(
                possible.iter().any(is_it),
                "{} was found at {}, which it was not between {start} and {end}: {:?}",
                found.id,
                found.distance,
                states.iter().map(|state| (state.begun, state.acknowledged)).collect::<Vec<_>>()
            );
        }
        if !seen.recall {
            return (0, 0);
        }
        // The nearest of all that may have been there; of them, those that were there for sure.
        let mut nearest: Vec<(f64, &str, bool)> = Vec::new();
        for (id, states) in ids.iter().filter(|(id, _)| id.starts_with(seen.prefix)) {
            let possible = Self::possible(states, start, end);
            let sure = possible.len() == 1 && possible[0].begun < start;
            for vector in possible.iter().filter_map(|state| state.vector.as_ref()) {
                nearest.push((distance_of(seen.distance, seen.query, vector), id, sure));
            }
        }
        nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<&str> =
            nearest.iter().take(seen.k).filter(|(_, _, sure)| *sure).map(|(_, id, _)| *id).collect();
        let hits = wanted.iter().filter(|id| seen.matches.iter().any(|found| found.id == **id)).count();
        (wanted.len(), hits)
    }
}

/// A search and what it found.
struct Seen<'a> {
    distance: DistanceFunction,
    query: &'a [f32],
    prefix: &'a str,
    k: usize,
    start: u64,
    end: u64,
    matches: Vec<VectorMatch>,
    recall: bool,
}

#[derive(Clone, Copy)]
struct Kind {
    distance: DistanceFunction,
    index_type: VectorIndexType,
    quantization: Quantization,
    /// How many ids there are.
    ids: usize,
    seconds: u64,
}

#[derive(Default)]
struct Sums {
    stop: AtomicBool,
    replaced: AtomicU64,
    searches: AtomicU64,
    wanted: AtomicU64,
    hits: AtomicU64,
}

/// One caller: it alone writes the ids of its lane, and searches all.
async fn lane(store: Arc<VectorStore>, model: Arc<Model>, sums: Arc<Sums>, kind: Kind, lane: usize) {
    let mut random = fastrand::Rng::with_seed(lane as u64);
    let vectors = clustered(100 + lane as u64, 2_000, DIMENSIONS);
    let vector = |random: &mut fastrand::Rng| {
        let mut vector = vectors[random.usize(..vectors.len())].1.clone();
        vector[0] += random.f32() * 0.01;
        vector
    };
    let id = |n: usize| format!("{lane:02}/{n}");
    let many = kind.ids / LANES;
    while !sums.stop.load(Ordering::Relaxed) {
        match random.u32(..10) {
            0..4 => {
                let mut ids: Vec<usize> = (0..random.usize(1..12)).map(|_| random.usize(..many)).collect();
                ids.sort_unstable();
                ids.dedup();
                let items: Vec<VectorItem> =
                    ids.iter().map(|n| VectorItem { id: id(*n), vector: vector(&mut random) }).collect();
                for item in &items {
                    model.begin(&item.id, Some(item.vector.clone()));
                }
                let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
                let insert = VectorInsert { namespace: "main".into(), vectors: items, idempotency_key: None };
                in_time("insert", store.vector_insert(insert, call())).await.unwrap();
                ids.iter().for_each(|id| model.acknowledge(id));
                sums.replaced.fetch_add(ids.len() as u64, Ordering::Relaxed);
            }
            4 => {
                let id = id(random.usize(..many));
                model.begin(&id, None);
                common::delete(&store, "main", &id).await;
                model.acknowledge(&id);
            }
            _ => {
                let query = vector(&mut random);
                let prefix = match random.u32(..8) {
                    0 => id(random.usize(..many)),
                    1 => format!("{:02}/", random.usize(..LANES)),
                    _ => String::new(),
                };
                let k = [1, 10, 10, 10, 100][random.usize(..5)];
                let request = VectorSearch {
                    id_prefix: prefix.clone(),
                    include_vectors: random.u32(..4) == 0,
                    ..near("main", &query, k)
                };
                let start = model.now();
                let matches = search_for(&*store, request).await;
                let end = model.now();
                assert!(
                    matches.len() <= k as usize && matches.iter().all(|found| found.id.starts_with(&prefix))
                );
                assert!(matches.is_sorted_by(|a, b| (a.distance, &a.id) < (b.distance, &b.id)));
                let recall = random.u32(..40) == 0;
                let seen = Seen {
                    distance: kind.distance,
                    query: &query,
                    prefix: &prefix,
                    k: k as usize,
                    start,
                    end,
                    matches,
                    recall,
                };
                let (wanted, hits) = model.check(&seen);
                sums.wanted.fetch_add(wanted as u64, Ordering::Relaxed);
                sums.hits.fetch_add(hits as u64, Ordering::Relaxed);
                sums.searches.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Another index comes and goes meanwhile, and is right as long as it is there.
async fn side(store: Arc<VectorStore>, sums: Arc<Sums>) {
    let mut round = 0f32;
    while !sums.stop.load(Ordering::Relaxed) {
        round += 1.0;
        let index = index("side", 2, DistanceFunction::Euclidean, VectorIndexType::Hnsw, Quantization::None);
        assert!(create(&store, index).await);
        for n in 0..5u8 {
            common::insert(&store, "side", &n.to_string(), &[round, f32::from(n)]).await;
        }
        let matches = search_for(&*store, near("side", &[round, 0.0], 10)).await;
        assert_eq!(matches.iter().map(|found| &found.id[..]).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
        assert!(matches[0].distance <= 0.0, "a vector of an earlier index: {matches:?}");
        assert!(drop_index(&*store, "side").await);
    }
}

async fn stress(directory: &Path, kind: Kind) {
    let (store, _) = open_at(directory, Settings::default(), Duration::from_millis(200)).await;
    let index =
        index("main", u32::try_from(DIMENSIONS).unwrap(), kind.distance, kind.index_type, kind.quantization);
    create(&store, index).await;
    let (model, sums) = (Arc::new(Model::default()), Arc::new(Sums::default()));
    let mut random = fastrand::Rng::with_seed(5);
    let vectors = clustered(5, kind.ids, DIMENSIONS);
    for part in vectors.chunks(100) {
        let items: Vec<VectorItem> = part
            .iter()
            .map(|(n, vector)| {
                let n: usize = n[3..].parse().unwrap();
                let id = format!("{:02}/{}", n % LANES, n / LANES);
                model.begin(&id, Some(vector.clone()));
                VectorItem { id, vector: vector.clone() }
            })
            .collect();
        let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        let insert = VectorInsert { namespace: "main".into(), vectors: items, idempotency_key: None };
        store.vector_insert(insert, call()).await.unwrap();
        ids.iter().for_each(|id| model.acknowledge(id));
    }
    let begun = Instant::now();
    let mut tasks: Vec<_> = (0..LANES)
        .map(|at| tokio::spawn(lane(Arc::clone(&store), Arc::clone(&model), Arc::clone(&sums), kind, at)))
        .collect();
    tasks.push(tokio::spawn(side(Arc::clone(&store), Arc::clone(&sums))));
    // So long, and until more were replaced than there are.
    let time = Duration::from_secs(if long() { kind.seconds * 10 } else { kind.seconds });
    while begun.elapsed() < time || sums.replaced.load(Ordering::Relaxed) < 2 * kind.ids as u64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if tasks.iter().any(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    sums.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let recall = |wanted: u64, hits: u64| hits as f64 / wanted.max(1) as f64;
    let count = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
    let while_busy = recall(count(&sums.wanted), count(&sums.hits));
    until_indexed(&store).await;
    let (mut wanted, mut hits) = (0, 0);
    for _ in 0..100 {
        let query = &clustered(random.u64(..), 1, DIMENSIONS)[0].1;
        let start = model.now();
        let matches = search_for(&*store, near("main", query, 10)).await;
        let end = model.now();
        let prefix = "";
        let seen = Seen { distance: kind.distance, query, prefix, k: 10, start, end, matches, recall: true };
        let (some_wanted, some_hits) = model.check(&seen);
        (wanted, hits) = (wanted + some_wanted as u64, hits + some_hits as u64);
    }
    let afterwards = recall(wanted, hits);
    eprintln!(
        "{:?} {:?}: {} replaced, {} searches, recall {while_busy:.4} of {} meanwhile and {afterwards:.4} afterwards",
        kind.index_type,
        kind.quantization,
        count(&sums.replaced),
        count(&sums.searches),
        count(&sums.wanted)
    );
    assert!(while_busy >= 0.95, "recall while vectors are replaced: {while_busy}");
    assert!(afterwards >= 0.95, "recall after vectors were replaced: {afterwards}");
    // What is there in the end is what the model has.
    let there: BTreeMap<String, Vec<f32>> = {
        let ids = model.ids.lock().unwrap();
        let last = ids.iter().map(|(id, states)| (id.clone(), states.last().unwrap().vector.clone()));
        last.filter_map(|(id, vector)| Some((id, vector?))).collect()
    };
    let info = store.vector_indexes(call()).await.unwrap().remove(0);
    assert_eq!(info.vectors, there.len() as u64);
    for (id, vector) in there.iter().step_by(7) {
        assert_eq!(common::get(&*store, "main", id).await.as_ref(), Some(vector));
        let request = VectorSearch { id_prefix: id.clone(), ..near("main", vector, 1) };
        assert_eq!(search_for(&*store, request).await[0].id, *id);
    }
    store.close().await.unwrap();
}

const GRAPH: Kind = Kind {
    distance: DistanceFunction::Cosine,
    index_type: VectorIndexType::Hnsw,
    quantization: Quantization::None,
    ids: 4_000,
    seconds: 6,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_graph_answers_nothing_that_was_deleted_or_replaced() {
    stress(tempfile::tempdir().unwrap().path(), GRAPH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quantized_graph_answers_nothing_that_was_deleted_or_replaced() {
    let kind = Kind {
        distance: DistanceFunction::Euclidean,
        quantization: Quantization::Int8,
        ids: 3_000,
        seconds: 3,
        ..GRAPH
    };
    stress(tempfile::tempdir().unwrap().path(), kind).await;
}

/// About as many vectors as a graph begins with and ends at: it comes and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_that_is_small_answers_nothing_that_was_deleted_or_replaced() {
    let kind = Kind { quantization: Quantization::F16, ids: 1_200, seconds: 2, ..GRAPH };
    stress(tempfile::tempdir().unwrap().path(), kind).await;
    let kind = Kind { index_type: VectorIndexType::BruteForce, ..kind };
    stress(tempfile::tempdir().unwrap().path(), kind).await;
}
