//! What a search of vectors finds.

use norikv_core::{
    Consistency, DistanceFunction, Quantization, Store, VectorIndex, VectorIndexType, VectorInsert,
    VectorItem, VectorSearch,
};

use crate::{
    Check,
    ask::{call, within},
    ask_vectors::{
        NAME, create, delete_vector, drop_index, formula, found, index, insert, insert_all, inserting, near,
        plane, random, search,
    },
};

#[allow(clippy::cast_possible_truncation)] // rounding is what it is for
fn to_f32(number: f64) -> f32 {
    number as f32
}

async fn insert_many(store: &dyn Store, vectors: &[Vec<f32>]) -> Check<Vec<String>> {
    let ids: Vec<String> = (0..vectors.len()).map(|n| format!("{n:04}")).collect();
    let items: Vec<VectorItem> = ids
        .iter()
        .zip(vectors)
        .map(|(id, vector)| VectorItem { id: id.clone(), vector: vector.clone() })
        .collect();
    for part in items.chunks(100) {
        insert_all(store, VectorInsert { vectors: part.to_vec(), ..inserting(&[]) }).await?;
    }
    Ok(ids)
}

/// Distances are those of the formulas, of every kind of index.
pub async fn distances_are_those_of_the_formulas(store: &dyn Store) -> Check {
    let mut seeded = fastrand::Rng::with_seed(1);
    for distance in DistanceFunction::ALL {
        for index_type in VectorIndexType::ALL {
            for quantization in Quantization::ALL {
                let dimensions = 37;
                let quantization = *quantization;
                create(store, VectorIndex { quantization, ..index(37, *distance, *index_type) }).await?;
                let vectors: Vec<Vec<f32>> = (0..40)
                    .map(|n| {
                        let length = [1e-3, 1.0, 1e3][n % 3];
                        random(&mut seeded, dimensions).iter().map(|number| number * length).collect()
                    })
                    .collect();
                let ids = insert_many(store, &vectors).await?;
                let query = random(&mut seeded, dimensions);
                let matches = search(store, near(&query, 100)).await?;
                assert_eq!(matches.len(), ids.len());
                let mut expected: Vec<(f64, &String)> =
                    vectors.iter().map(|vector| formula(*distance, &query, vector)).zip(&ids).collect();
                expected.sort_by(|a, b| a.0.total_cmp(&b.0));
                for (found, (expected, id)) in matches.iter().zip(&expected) {
                    let off = (f64::from(found.distance) - expected).abs();
                    assert!(
                        off <= 1e-5 * (1.0 + expected.abs()),
                        "{distance:?} {index_type:?} {quantization:?}: {} of {}, not {expected} of {id}",
                        found.distance,
                        found.id
                    );
                }
                drop_index(store, NAME).await?;
            }
        }
    }
    Ok(())
}

/// Matches come nearest first; those that are equally far come by their ids, also where the best are chosen among them.
pub async fn matches_come_nearest_first_and_ties_by_their_ids(store: &dyn Store) -> Check {
    let mut seeded = fastrand::Rng::with_seed(2);
    for distance in DistanceFunction::ALL {
        for index_type in VectorIndexType::ALL {
            create(store, index(2, *distance, *index_type)).await?;
            // A circle, and a ray: equally far from the query, but for what rounding leaves of it.
            let vectors: Vec<Vec<f32>> = (0..400)
                .map(|n| {
                    let angle = seeded.f64() * std::f64::consts::TAU;
                    let (x, y) = if n % 2 == 0 { angle.sin_cos() } else { (0.6 * angle, 0.8 * angle) };
                    vec![to_f32(x), to_f32(y)]
                })
                .collect();
            insert_many(store, &vectors).await?;
            for query in [[1e-30, 0.0], [0.6, 0.8], [6e-5, 8e-5]] {
                let all = search(store, near(&query, 400)).await?;
                assert_eq!(all.len(), 400);
                for pair in all.windows(2) {
                    let (a, b) = (&pair[0], &pair[1]);
                    assert!(
                        a.distance < b.distance || (a.distance <= b.distance && a.id < b.id),
                        "{distance:?} {index_type:?}: {a:?} before {b:?}"
                    );
                }
                for k in [1, 2, 7, 50] {
                    let some = search(store, near(&query, k)).await?;
                    assert_eq!(some, all[..k as usize], "{distance:?} {index_type:?}");
                    let request = VectorSearch { include_vectors: true, ..near(&query, k) };
                    let with_vectors: Vec<_> = search(store, request).await?;
                    let ids = |matches: &[norikv_core::VectorMatch]| {
                        matches.iter().map(|found| (found.id.clone(), found.distance)).collect::<Vec<_>>()
                    };
                    assert_eq!(ids(&with_vectors), ids(&some), "{distance:?} {index_type:?}");
                }
            }
            drop_index(store, NAME).await?;
        }
    }
    Ok(())
}

/// A search answers `k` matches, or as many as there are.
pub async fn a_search_answers_k_matches_or_as_many_as_there_are(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    for n in 0..5u8 {
        for k in [1, 3, 5, 100, 10_000] {
            let matches = search(store, near(&[0.0, 0.0], k)).await?;
            assert_eq!(matches.len(), usize::from(n).min(k as usize));
        }
        insert(store, &n.to_string(), &[f32::from(n), 0.0]).await?;
    }
    Ok(())
}

/// `maxDistance` leaves out what is farther away, and not what is exactly so far.
pub async fn max_distance_is_inclusive(store: &dyn Store) -> Check {
    let mut seeded = fastrand::Rng::with_seed(3);
    for distance in DistanceFunction::ALL {
        for quantization in Quantization::ALL {
            let index =
                VectorIndex { quantization: *quantization, ..index(7, *distance, VectorIndexType::Hnsw) };
            create(store, index).await?;
            let vectors: Vec<Vec<f32>> = (0..30).map(|_| random(&mut seeded, 7)).collect();
            insert_many(store, &vectors).await?;
            let query = random(&mut seeded, 7);
            for include_vectors in [false, true] {
                let request = VectorSearch { include_vectors, ..near(&query, 30) };
                let all = search(store, request.clone()).await?;
                for at in [0, 10, 29] {
                    let most = all[at].distance;
                    let within = |most| VectorSearch { max_distance: Some(most), ..request.clone() };
                    assert_eq!(search(store, within(most)).await?, all[..=at], "{distance:?}");
                    assert_eq!(search(store, within(most.next_down())).await?, all[..at], "{distance:?}");
                }
                for (most, count) in [(f32::NEG_INFINITY, 0), (f32::INFINITY, 30)] {
                    let request = VectorSearch { max_distance: Some(most), ..request.clone() };
                    assert_eq!(search(store, request).await?.len(), count);
                }
            }
            drop_index(store, NAME).await?;
        }
    }
    Ok(())
}

/// `idPrefix` looks only at ids that begin so, and finds as many of them as there are.
pub async fn id_prefix_looks_only_at_ids_that_begin_so(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    let ids = ["a", "a/1", "a/2", "a0", "b/1", "ä/1", "ä"];
    for (n, id) in (0u8..).zip(ids) {
        insert(store, id, &[f32::from(n), 0.0]).await?;
    }
    let cases: [(&str, &[&str]); 7] = [
        ("", &ids),
        ("a", &["a", "a/1", "a/2", "a0"]),
        ("a/", &["a/1", "a/2"]),
        ("a/2", &["a/2"]),
        ("ä", &["ä/1", "ä"]),
        ("b/1/", &[]),
        ("z", &[]),
    ];
    for (prefix, expected) in cases {
        let request = VectorSearch { id_prefix: prefix.into(), ..near(&[0.0, 0.0], 100) };
        assert_eq!(found(store, request).await?, expected, "{prefix:?}");
    }
    let request = VectorSearch { id_prefix: "a".into(), ..near(&[9.0, 0.0], 1) };
    assert_eq!(found(store, request).await?, ["a0"]);
    Ok(())
}

/// A search of several queries answers each as if it were alone, in their order.
pub async fn several_queries_are_answered_in_their_order(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    for n in 0..20u8 {
        insert(store, &format!("{n:02}"), &[f32::from(n), 0.0]).await?;
    }
    for consistency in [Consistency::Lease, Consistency::Linearizable, Consistency::StaleOk] {
        let queries: Vec<Vec<f32>> = (0..100u8).map(|n| vec![f32::from(n % 20), 0.0]).collect();
        let request = VectorSearch { queries, consistency, ..near(&[], 1) };
        let results = within(call(), store.vector_search(request, call())).await?;
        assert_eq!(results.len(), 100);
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result.matches[0].id, format!("{:02}", n % 20));
        }
    }
    Ok(())
}

/// A search sees every write that was acknowledged before it was made.
pub async fn a_search_sees_what_was_acknowledged_before_it(store: &dyn Store) -> Check {
    for n in 0..40u8 {
        let here = [f32::from(n), 1.0];
        assert!(create(store, plane()).await?);
        insert(store, "a", &here).await?;
        let matches = search(store, near(&here, 10)).await?;
        assert_eq!(matches.len(), 1);
        assert!(matches[0].distance <= 0.0, "{matches:?}");
        insert(store, "a", &[f32::from(n), 3.0]).await?;
        insert(store, "b", &[f32::from(n), 2.0]).await?;
        assert_eq!(found(store, near(&here, 10)).await?, ["b", "a"]);
        assert!(delete_vector(store, "b").await?);
        assert_eq!(found(store, near(&here, 10)).await?, ["a"]);
        assert!(drop_index(store, NAME).await?);
        assert!(create(store, plane()).await?);
        assert_eq!(search(store, near(&here, 10)).await?, []);
        assert!(drop_index(store, NAME).await?);
    }
    Ok(())
}

/// Inserts and searches that nobody waits for one by one are all answered: a search finds what was there before, and
/// perhaps what comes.
pub async fn inserts_and_searches_at_the_same_time_are_all_answered(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    insert(store, "first", &[0.0, 0.0]).await?;
    let inserts = (1..=100u8).map(async |n| insert(store, &format!("{n:03}"), &[f32::from(n), 0.0]).await);
    let searches = (0..100).map(|_| search(store, near(&[0.0, 0.0], 1_000)));
    let (inserts, searches) =
        tokio::join!(futures_util::future::join_all(inserts), futures_util::future::join_all(searches));
    for inserted in inserts {
        inserted?;
    }
    for matches in searches {
        let matches = matches?;
        assert_eq!(matches[0].id, "first");
        assert!(matches.len() <= 101 && matches.is_sorted_by(|a, b| a.id == "first" || a.id < b.id));
    }
    assert_eq!(search(store, near(&[0.0, 0.0], 1_000)).await?.len(), 101);
    Ok(())
}
