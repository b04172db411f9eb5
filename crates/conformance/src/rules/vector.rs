//! Vector indexes, and the vectors in them.

use norikv_core::{
    DistanceFunction, ErrorKind, Feature, FieldName, Quantization, Store, VectorIndex, VectorIndexType,
    VectorInsert, VectorItem, VectorSearch,
};

use crate::{
    Check, Setup, World,
    ask::{call, later, newest, put, within},
    ask_vectors::{
        NAME, create, delete_vector, drop_index, found, index, indexes, insert, insert_all, inserting, near,
        plane, search, vector,
    },
    refused,
};

/// An index is created once; the same again is `false`, and another one of its name is refused.
pub async fn an_index_is_created_once_and_another_of_its_name_is_refused(store: &dyn Store) -> Check {
    assert!(create(store, plane()).await?);
    let before = newest(store).await?;
    assert!(!create(store, plane()).await?);
    let others = [
        VectorIndex { dimensions: 3, ..plane() },
        VectorIndex { distance: DistanceFunction::Cosine, ..plane() },
        VectorIndex { index_type: VectorIndexType::BruteForce, ..plane() },
        VectorIndex { quantization: Quantization::Int8, ..plane() },
    ];
    for other in others {
        refused(create(store, other).await, ErrorKind::VectorIndexExists)?;
    }
    assert_eq!(newest(store).await?, before);
    Ok(())
}

/// Of indexes of one name that are created at the same time, one is.
pub async fn of_indexes_created_at_the_same_time_one_is(store: &dyn Store) -> Check {
    let created = futures_util::future::join_all((0..20).map(|_| create(store, plane()))).await;
    let created = created.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(created.iter().filter(|created| **created).count(), 1, "{created:?}");
    Ok(())
}

/// The indexes are listed in the order of their names, each with what it is and how many vectors it has.
pub async fn indexes_are_listed_by_name_with_their_sizes(store: &dyn Store) -> Check {
    assert_eq!(indexes(store).await?, []);
    let of = |namespace: &str, index_type, quantization| VectorIndex {
        namespace: namespace.into(),
        index_type,
        quantization,
        ..plane()
    };
    let expected = [
        of("a", VectorIndexType::BruteForce, Quantization::F16),
        of("b/ä 🙂", VectorIndexType::Hnsw, Quantization::None),
        of("c", VectorIndexType::Hnsw, Quantization::Int8),
    ];
    for index in expected.iter().rev() {
        create(store, index.clone()).await?;
    }
    for n in 0..3 {
        let namespace = "c".to_owned();
        insert_all(store, VectorInsert { namespace, ..inserting(&[(&n.to_string(), &[1.0, 2.0])]) }).await?;
    }
    let listed = indexes(store).await?;
    assert_eq!(
        listed.iter().map(|info| &info.index).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    assert_eq!(listed.iter().map(|info| info.vectors).collect::<Vec<_>>(), [0, 0, 3]);
    for info in &listed {
        assert_eq!(info.indexed, info.vectors, "so few vectors need no graph");
    }
    assert!(listed[0].created > listed[1].created && listed[1].created > listed[2].created);
    let status = within(call(), store.status(call())).await?;
    assert!(status.has(Feature::Vectors), "{:?}", status.features);
    let vectors = status.vectors.ok_or("the status has no vectors")?;
    assert_eq!((vectors.indexes, vectors.vectors, vectors.indexed), (3, 3, 3));
    Ok(())
}

/// A dropped index is gone with its vectors, and the next of its name has none of them.
pub async fn a_dropped_index_is_gone_with_its_vectors(store: &dyn Store) -> Check {
    assert!(!drop_index(store, NAME).await?);
    for round in 0..3 {
        assert!(create(store, plane()).await?);
        assert_eq!(vector(store, "a").await?, None, "round {round}");
        assert_eq!(search(store, near(&[1.0, 2.0], 10)).await?, []);
        insert(store, "a", &[1.0, 2.0]).await?;
        assert_eq!(found(store, near(&[1.0, 2.0], 10)).await?, ["a"]);
        assert!(drop_index(store, NAME).await?);
        assert!(!drop_index(store, NAME).await?);
        assert_eq!(indexes(store).await?, []);
        not_found(store).await?;
    }
    // The next may be another.
    assert!(create(store, VectorIndex { dimensions: 3, ..plane() }).await?);
    insert(store, "a", &[1.0, 2.0, 3.0]).await?;
    assert_eq!(found(store, near(&[1.0, 2.0, 3.0], 10)).await?, ["a"]);
    Ok(())
}

async fn not_found(store: &dyn Store) -> Check {
    let kind = ErrorKind::VectorIndexNotFound;
    refused(insert(store, "a", &[1.0, 2.0]).await, kind)?;
    refused(search(store, near(&[1.0, 2.0], 10)).await, kind)?;
    refused(vector(store, "a").await, kind)?;
    refused(delete_vector(store, "a").await, kind)?;
    Ok(())
}

/// An index that is not there is not found, by every call but those that create and drop it.
pub async fn an_index_that_is_not_there_is_not_found(store: &dyn Store) -> Check {
    not_found(store).await?;
    create(store, VectorIndex { namespace: "other".into(), ..plane() }).await?;
    not_found(store).await
}

/// A vector is inserted, read as it was inserted, replaced and deleted.
pub async fn a_vector_is_inserted_read_replaced_and_deleted(store: &dyn Store) -> Check {
    for quantization in Quantization::ALL {
        create(store, VectorIndex { dimensions: 5, quantization: *quantization, ..plane() }).await?;
        assert_eq!(vector(store, "a").await?, None);
        assert!(!delete_vector(store, "a").await?);
        let numbers =
            [[0.1, -0.0, 1e-40, 1e18, -1.0 / 3.0], [1e-45, 0.0, -7e17, 65_504.5, f32::MIN_POSITIVE]];
        for numbers in &numbers {
            insert(store, "a", numbers).await?;
            let read = vector(store, "a").await?.ok_or("the vector is not there")?;
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(numbers), "{quantization:?}");
            let request = VectorSearch { include_vectors: true, ..near(numbers, 1) };
            let matches = search(store, request).await?;
            assert_eq!(bits(matches[0].vector.as_deref().unwrap_or_default()), bits(numbers));
            assert!(matches[0].distance.abs() < f32::EPSILON, "{matches:?}");
            assert_eq!(search(store, near(numbers, 1)).await?[0].vector, None);
        }
        assert!(delete_vector(store, "a").await?);
        assert!(!delete_vector(store, "a").await?);
        assert_eq!(vector(store, "a").await?, None);
        assert_eq!(search(store, near(&numbers[0], 1)).await?, []);
        drop_index(store, NAME).await?;
    }
    Ok(())
}

/// The longest names and ids, and the most dimensions, are taken.
pub async fn the_shortest_and_the_longest_of_everything_is_taken(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    // What a part of the store has before its names counts towards them.
    let longest = 256 - (norikv_core::MAX_KEY_BYTES - fixture.max_key_bytes);
    for (namespace, dimensions) in [("n".to_owned(), 1), ("ä".repeat(longest / 2), 4_096)] {
        let index = VectorIndex { namespace: namespace.clone(), dimensions, ..plane() };
        assert!(create(store, index).await?);
        let ids = ["i".to_owned(), "i".repeat(512), "\0\n ".to_owned(), "🙂".repeat(128)];
        let numbers = vec![1.5; dimensions as usize];
        let vectors = ids.iter().map(|id| VectorItem { id: id.clone(), vector: numbers.clone() });
        let request =
            VectorInsert { namespace: namespace.clone(), vectors: vectors.collect(), idempotency_key: None };
        insert_all(store, request).await?;
        let mut sorted = ids.to_vec();
        sorted.sort();
        for k in [4, 10_000] {
            let request = VectorSearch { namespace: namespace.clone(), ..near(&numbers, k) };
            assert_eq!(found(store, request).await?, sorted);
        }
    }
    Ok(fixture.owner.close().await?)
}

/// An insert of many vectors is one revision; if one of them is wrong, none is there.
pub async fn an_insert_of_many_vectors_is_one_revision(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    let before = newest(store).await?;
    let ids: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    let vectors: Vec<(&str, &[f32])> = ids.iter().map(|id| (id.as_str(), &[1.0, 2.0][..])).collect();
    let version = insert_all(store, inserting(&vectors)).await?;
    assert_eq!(version, later(before, 1));
    assert_eq!(newest(store).await?, version);
    assert_eq!(found(store, near(&[1.0, 2.0], 1_000)).await?, ids);
    let wrong = [("new", &[1.0, 2.0][..]), ("wrong", &[1.0][..])];
    refused(insert_all(store, inserting(&wrong)).await, ErrorKind::VectorDimensionMismatch)?;
    assert_eq!(vector(store, "new").await?, None);
    assert_eq!(put(store, "k", "v").await?, later(version, 1));
    Ok(())
}

/// Bad input is refused before anything changes.
pub async fn bad_input_on_vectors_is_refused_and_changes_nothing(store: &dyn Store) -> Check {
    for distance in DistanceFunction::ALL {
        create(store, index(2, *distance, VectorIndexType::Hnsw)).await?;
        insert(store, "there", &[1.0, 2.0]).await?;
        let before = newest(store).await?;
        let kind = ErrorKind::InvalidArgument;
        for dimensions in [0, 4_097, 5_000, u32::MAX] {
            let index = VectorIndex { namespace: "new".into(), dimensions, ..plane() };
            refused(create(store, index).await, kind)?;
        }
        for namespace in [String::new(), "n".repeat(257)] {
            let of = |index| VectorIndex { namespace: namespace.clone(), ..index };
            refused(create(store, of(plane())).await, kind)?;
            refused(drop_index(store, &namespace).await, kind)?;
            refused(
                insert_all(
                    store,
                    VectorInsert { namespace: namespace.clone(), ..inserting(&[("a", &[1.0, 2.0])]) },
                )
                .await,
                kind,
            )?;
            refused(
                search(store, VectorSearch { namespace: namespace.clone(), ..near(&[1.0, 2.0], 1) }).await,
                kind,
            )?;
        }
        for id in [String::new(), "i".repeat(513)] {
            refused(insert(store, &id, &[1.0, 2.0]).await, kind)?;
            refused(delete_vector(store, &id).await, kind)?;
            refused(vector(store, &id).await, kind)?;
        }
        let mut wrong = vec![
            [f32::NAN, 0.0],
            [0.0, f32::INFINITY],
            [f32::NEG_INFINITY, f32::NAN],
            [1e19, 1.0],
            [f32::MAX, f32::MIN],
        ];
        if *distance == DistanceFunction::Cosine {
            wrong.extend([[0.0, 0.0], [-0.0, 0.0]]);
        }
        for wrong in &wrong {
            refused(insert(store, "a", wrong).await, kind)?;
            refused(insert_all(store, inserting(&[("b", &[1.0, 2.0]), ("a", wrong)])).await, kind)?;
            refused(search(store, near(wrong, 1)).await, kind)?;
        }
        for k in [0, 10_001, 1 << 31, u32::MAX] {
            refused(search(store, near(&[1.0, 2.0], k)).await, kind)?;
        }
        for ef in [0, 10_001, u32::MAX] {
            refused(search(store, VectorSearch { ef_search: Some(ef), ..near(&[1.0, 2.0], 1) }).await, kind)?;
        }
        refused(
            search(store, VectorSearch { max_distance: Some(f32::NAN), ..near(&[1.0, 2.0], 1) }).await,
            kind,
        )?;
        refused(
            search(store, VectorSearch { id_prefix: "i".repeat(513), ..near(&[1.0, 2.0], 1) }).await,
            kind,
        )?;
        for queries in [Vec::new(), vec![vec![1.0, 2.0]; 101]] {
            let request = VectorSearch { queries, ..near(&[], 1) };
            refused(within(call(), store.vector_search(request, call())).await, kind)?;
        }
        refused(insert_all(store, inserting(&[])).await, kind)?;
        refused(
            insert_all(store, inserting(&[("a", &[1.0, 2.0]), ("b", &[1.0, 2.0]), ("a", &[3.0, 4.0])])).await,
            kind,
        )?;
        let ids: Vec<String> = (0..=100).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &[f32])> = ids.iter().map(|id| (id.as_str(), &[1.0, 2.0][..])).collect();
        refused(insert_all(store, inserting(&many)).await, kind)?;
        wrong_length(store).await?;
        assert_eq!(newest(store).await?, before);
        assert_eq!(found(store, near(&[1.0, 2.0], 100)).await?, ["there"]);
        drop_index(store, NAME).await?;
    }
    Ok(())
}

async fn wrong_length(store: &dyn Store) -> Check {
    for wrong in [&[1.0][..], &[1.0, 2.0, 3.0], &[1.0; 4_096]] {
        let kind = ErrorKind::VectorDimensionMismatch;
        let errors = [
            refused(insert(store, "a", wrong).await, kind)?,
            refused(search(store, near(wrong, 1)).await, kind)?,
        ];
        for error in errors {
            assert_eq!(error.field(FieldName::Expected), Some(&2u64.into()), "{error:?}");
            assert_eq!(error.field(FieldName::Actual), Some(&(wrong.len() as u64).into()), "{error:?}");
        }
    }
    for wrong in [&[][..], &[1.0; 4_097]] {
        refused(insert(store, "a", wrong).await, ErrorKind::InvalidArgument)?;
        refused(search(store, near(wrong, 1)).await, ErrorKind::InvalidArgument)?;
    }
    Ok(())
}

/// Every call on vectors of a closed store says that it is closed.
pub async fn every_vector_call_of_a_closed_store_says_so(world: &dyn World) -> Check {
    for used in [false, true] {
        let fixture = world.open(Setup::default()).await?;
        let store = &*fixture.store;
        if used {
            create(store, plane()).await?;
            insert(store, "a", &[1.0, 2.0]).await?;
        }
        fixture.owner.close().await?;
        let kind = ErrorKind::Closed;
        refused(create(store, plane()).await, kind)?;
        refused(drop_index(store, NAME).await, kind)?;
        refused(insert(store, "a", &[1.0, 2.0]).await, kind)?;
        refused(delete_vector(store, "a").await, kind)?;
        refused(vector(store, "a").await, kind)?;
        refused(search(store, near(&[1.0, 2.0], 1)).await, kind)?;
        refused(indexes(store).await, kind)?;
    }
    Ok(())
}
