//! What searches find, against every distance computed one by one.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{clustered, exact, insert_all, open_memory, search};
use norikv_core::{
    Call, DistanceFunction, ErrorKind, Put, Quantization, Store, VectorIndexType, VectorInsert, VectorItem,
};

#[tokio::test(flavor = "multi_thread")]
async fn searches_find_what_every_distance_computed_finds() {
    for index_type in VectorIndexType::ALL {
        for distance in DistanceFunction::ALL {
            for quantization in Quantization::ALL {
                let vectors = clustered(1, 3_000, 48);
                let queries = clustered(2, 50, 48);
                let store = open_memory().await;
                let index = common::index("n", 48, *distance, *index_type, *quantization);
                common::create(&store, index).await;
                insert_all(&store, "n", &vectors).await;
                common::until_indexed(&store).await;
                let mut hits = 0;
                for query in &queries {
                    let found = search(&store, "n", query, 10).await;
                    assert_eq!(found.len(), 10);
                    assert!(found.is_sorted_by(|a, b| (a.distance, &a.id) < (b.distance, &b.id)));
                    let expected = exact(&vectors, query, *distance, 10);
                    hits +=
                        found.iter().filter(|found| expected.iter().any(|(id, _)| *id == found.id)).count();
                    for (found, (_, distance)) in found.iter().zip(&expected) {
                        assert!(found.distance >= distance - 1e-3, "nearer than the nearest");
                    }
                }
                let recall = hits as f64 / (queries.len() * 10) as f64;
                eprintln!("{index_type:?} {distance:?} {quantization:?}: recall {recall:.4}");
                let least = if *index_type == VectorIndexType::BruteForce { 0.999 } else { 0.97 };
                assert!(recall >= least, "{index_type:?} {distance:?} {quantization:?}: {recall}");
                store.close().await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_vectors_replaced_are_found_as_they_are_now() {
    let store = open_memory().await;
    let index = common::index("n", 32, DistanceFunction::Cosine, VectorIndexType::Hnsw, Quantization::None);
    common::create(&store, index).await;
    let mut vectors = clustered(1, 6_000, 32);
    insert_all(&store, "n", &vectors).await;
    common::until_indexed(&store).await;
    let new = clustered(3, 3_000, 32);
    for (at, (_, vector)) in new.iter().enumerate() {
        vectors[at * 2].1.clone_from(vector);
    }
    let replaced: Vec<_> = vectors.iter().step_by(2).cloned().collect();
    insert_all(&store, "n", &replaced).await;
    common::until_indexed(&store).await;
    let queries = clustered(4, 100, 32);
    let mut hits = 0;
    for query in &queries {
        let expected = exact(&vectors, query, DistanceFunction::Cosine, 10);
        let found = search(&store, "n", query, 10).await;
        hits += found.iter().filter(|found| expected.iter().any(|(id, _)| *id == found.id)).count();
    }
    let recall = hits as f64 / 1_000.0;
    assert!(recall >= 0.95, "{recall}");
    let info = store.vector_indexes(Call::default()).await.unwrap().remove(0);
    assert_eq!((info.vectors, info.indexed), (6_000, 6_000));
    store.close().await.unwrap();
}

/// Numbers that are all far from zero, as of pixels or of prices: what vectors have in common tells none of them apart.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_have_much_in_common_are_told_apart() {
    for distance in DistanceFunction::ALL {
        let mut random = fastrand::Rng::with_seed(9);
        let mut vectors = |count: usize| -> Vec<(String, Vec<f32>)> {
            (0..count)
                .map(|n| (format!("id:{n}"), (0..32).map(|_| 9.0 + random.f32() * 2.0).collect()))
                .collect()
        };
        let (vectors, queries) = (vectors(5_000), vectors(50));
        let store = open_memory().await;
        let index = common::index("n", 32, *distance, VectorIndexType::Hnsw, Quantization::None);
        common::create(&store, index).await;
        insert_all(&store, "n", &vectors).await;
        common::until_indexed(&store).await;
        let mut hits = 0;
        for query in &queries {
            let expected = exact(&vectors, query, *distance, 10);
            let found = search(&store, "n", query, 10).await;
            hits += found.iter().filter(|found| expected.iter().any(|(id, _)| *id == found.id)).count();
        }
        let recall = hits as f64 / 500.0;
        assert!(recall >= 0.95, "{distance:?}: {recall}");
        store.close().await.unwrap();
    }
}

/// Codes of 8 bits say nothing of such vectors: the graph has to notice.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_have_nearly_all_in_common_are_told_apart() {
    let mut random = fastrand::Rng::with_seed(5);
    let far = |at: usize, random: &mut fastrand::Rng| match at {
        // A thousand, and a little.
        0 => 1_000.0 + random.f32(),
        _ => random.f32(),
    };
    for (name, offset) in [("offset", 100.0), ("one large dimension", 0.0)] {
        let mut vector = || -> Vec<f32> {
            (0..24)
                .map(|at| if offset > 0.0 { offset + random.f32() } else { far(at, &mut random) })
                .collect()
        };
        let vectors: Vec<_> = (0..3_000).map(|at| (format!("id:{at}"), vector())).collect();
        let queries: Vec<_> = (0..40).map(|at| (format!("query:{at}"), vector())).collect();
        let store = open_memory().await;
        let distance = DistanceFunction::Euclidean;
        common::create(&store, common::index("n", 24, distance, VectorIndexType::Hnsw, Quantization::None))
            .await;
        insert_all(&store, "n", &vectors).await;
        common::until_indexed(&store).await;
        let mut hits = 0;
        for query in &queries {
            let expected = exact(&vectors, query, distance, 10);
            let found = search(&store, "n", query, 10).await;
            hits += found.iter().filter(|found| expected.iter().any(|(id, _)| *id == found.id)).count();
        }
        assert!(hits >= 380, "{name}: {hits} of 400");
        assert_eq!(search(&store, "n", &queries[0], 2_000).await.len(), 2_000);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_of_a_put_is_none_of_an_insert_nor_the_other_way_round() {
    let store = open_memory().await;
    let index = common::index("n", 2, DistanceFunction::Cosine, VectorIndexType::Hnsw, Quantization::None);
    common::create(&store, index).await;
    let put = |key: &str| Put { idempotency_key: Some(key.into()), ..Put::new("k", "v") };
    let insert = |key: &str| VectorInsert {
        namespace: "n".into(),
        vectors: vec![VectorItem { id: "a".into(), vector: vec![1.0, 2.0] }],
        idempotency_key: Some(key.into()),
    };
    store.put(put("first"), Call::default()).await.unwrap();
    let error = store.vector_insert(insert("first"), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let version = store.vector_insert(insert("second"), Call::default()).await.unwrap();
    let error = store.put(put("second"), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(store.vector_insert(insert("second"), Call::default()).await.unwrap(), version);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vector_of_a_graph_finds_itself() {
    for seed in 0..4 {
        let store = open_memory().await;
        let distance = DistanceFunction::Euclidean;
        common::create(&store, common::index("n", 32, distance, VectorIndexType::Hnsw, Quantization::None))
            .await;
        let vectors = clustered(seed, 2_500, 32);
        insert_all(&store, "n", &vectors).await;
        common::until_indexed(&store).await;
        for vector in &vectors {
            let found = search(&store, "n", vector, 1).await;
            assert_eq!(found[0].id, vector.0, "seed {seed}");
        }
        store.close().await.unwrap();
    }
}
