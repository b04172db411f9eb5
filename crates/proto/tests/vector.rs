//! Vectors on the wire: what one side says, the other side reads.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

use norikv_core::{
    Consistency, DistanceFunction, ErrorKind, Quantization, VectorCreateIndex, VectorDelete, VectorDropIndex,
    VectorGet, VectorIndex, VectorIndexInfo, VectorIndexType, VectorInsert, VectorItem, VectorMatch,
    VectorSearch, VectorSearchResult, Version,
};
use norikv_proto::{
    ext, v1, vector_create_index_from_ext, vector_create_index_from_v1, vector_create_index_to_ext,
    vector_create_index_to_v1, vector_delete_from_wire, vector_delete_to_wire, vector_drop_index_from_wire,
    vector_drop_index_to_wire, vector_get_from_wire, vector_get_to_wire, vector_info_from_wire,
    vector_info_to_wire, vector_insert_from_ext, vector_insert_from_v1, vector_insert_to_ext,
    vector_insert_to_v1, vector_search_from_ext, vector_search_from_v1, vector_search_to_ext,
    vector_search_to_v1,
};
use prost::Message;

/// What the other side reads of a message.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(&message.encode_to_vec()[..]).unwrap()
}

fn index(quantization: Quantization) -> VectorIndex {
    VectorIndex {
        namespace: "n".into(),
        dimensions: 3,
        distance: DistanceFunction::Cosine,
        index_type: VectorIndexType::Hnsw,
        quantization,
    }
}

fn search() -> VectorSearch {
    VectorSearch {
        namespace: "n".into(),
        queries: vec![vec![1.0, -0.5]],
        k: 7,
        include_vectors: true,
        consistency: Consistency::StaleOk,
        ..VectorSearch::default()
    }
}

#[test]
fn every_index_survives_the_wire_and_norikv_v1_takes_those_without_quantization() {
    for distance in DistanceFunction::ALL {
        for index_type in VectorIndexType::ALL {
            for quantization in Quantization::ALL {
                let index =
                    VectorIndex { distance: *distance, index_type: *index_type, ..index(*quantization) };
                let create = VectorCreateIndex { index: index.clone(), idempotency_key: Some("once".into()) };
                let back =
                    vector_create_index_from_ext(sent(&vector_create_index_to_ext(create.clone()))).unwrap();
                assert_eq!(format!("{back:?}"), format!("{create:?}"));
                let plain = vector_create_index_to_v1(create.clone());
                assert_eq!(plain.is_ok(), *quantization == Quantization::None);
                let back = match plain {
                    Ok(plain) => vector_create_index_from_v1(sent(&plain)).unwrap(),
                    Err(whole) => whole,
                };
                assert_eq!(format!("{back:?}"), format!("{create:?}"));
                let info = VectorIndexInfo {
                    index,
                    created: Version::new(1, 2),
                    vectors: 3,
                    indexed: 2,
                    memory_bytes: 99,
                };
                let back = vector_info_from_wire(sent(&vector_info_to_wire(info.clone())));
                assert_eq!(back.unwrap(), info);
            }
        }
    }
}

#[test]
fn what_no_enum_has_is_refused_by_its_number() {
    let right = vector_create_index_to_ext(VectorCreateIndex {
        index: index(Quantization::None),
        ..VectorCreateIndex::default()
    });
    let with = |change: fn(&mut ext::VectorIndex, i32), number: i32| {
        let mut request = right.clone();
        change(request.index.as_mut().unwrap(), number);
        vector_create_index_from_ext(request).unwrap_err()
    };
    let refused = [
        with(|index, number| index.distance = number, 0),
        with(|index, number| index.distance = number, 4),
        with(|index, number| index.distance = number, -1),
        with(|index, number| index.index_type = number, 0),
        with(|index, number| index.index_type = number, 3),
        with(|index, number| index.quantization = number, 3),
    ];
    for (error, number) in refused.iter().zip([0, 4, -1, 0, 3, 3]) {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().ends_with(&format!("got {number}")), "{error:?}");
    }
    assert!(vector_create_index_from_ext(ext::VectorCreateIndexRequest::default()).is_err());
    for (distance, index_type) in [(0, 1), (1, 0), (4, 1), (1, 3)] {
        let request =
            v1::CreateVectorIndexRequest { distance, index_type, dimensions: 3, ..Default::default() };
        assert!(vector_create_index_from_v1(request).is_err());
    }
}

#[test]
fn writes_survive_the_wire_and_norikv_v1_takes_one_vector() {
    let item = |id: &str| VectorItem { id: id.into(), vector: vec![1.5, f32::MIN_POSITIVE, -0.0] };
    let of = |ids: &[&str]| VectorInsert {
        namespace: "n".into(),
        vectors: ids.iter().map(|id| item(id)).collect(),
        idempotency_key: Some("once".into()),
    };
    for ids in [&["a"][..], &["a", "b"], &[]] {
        let insert = of(ids);
        let back = vector_insert_from_ext(sent(&vector_insert_to_ext(insert.clone())));
        assert_eq!(format!("{back:?}"), format!("{insert:?}"));
        let plain = vector_insert_to_v1(insert.clone());
        assert_eq!(plain.is_ok(), ids.len() == 1);
        let back = plain.map_or_else(|whole| whole, |plain| vector_insert_from_v1(sent(&plain)));
        assert_eq!(format!("{back:?}"), format!("{insert:?}"));
    }
    for idempotency_key in [None, Some("once".to_owned())] {
        let delete =
            VectorDelete { namespace: "n".into(), id: "a".into(), idempotency_key: idempotency_key.clone() };
        let back = vector_delete_from_wire(sent(&vector_delete_to_wire(delete.clone())));
        assert_eq!(format!("{back:?}"), format!("{delete:?}"));
        let drop = VectorDropIndex { namespace: "n".into(), idempotency_key };
        let back = vector_drop_index_from_wire(sent(&vector_drop_index_to_wire(drop.clone())));
        assert_eq!(format!("{back:?}"), format!("{drop:?}"));
    }
}

#[test]
fn reads_survive_the_wire_and_norikv_v1_takes_a_search_of_one_query_without_options() {
    let plain = search();
    let back = vector_search_from_v1(sent(&vector_search_to_v1(plain.clone()).unwrap())).unwrap();
    assert_eq!(format!("{back:?}"), format!("{plain:?}"));
    let more = [
        VectorSearch { queries: vec![vec![1.0], vec![2.0]], ..search() },
        VectorSearch { queries: Vec::new(), ..search() },
        VectorSearch { max_distance: Some(0.0), ..search() },
        VectorSearch { ef_search: Some(0), ..search() },
        VectorSearch { id_prefix: "a".into(), ..search() },
    ];
    for search in more {
        let whole = vector_search_to_v1(search.clone()).unwrap_err();
        assert_eq!(format!("{whole:?}"), format!("{search:?}"));
        let back = vector_search_from_ext(sent(&vector_search_to_ext(whole))).unwrap();
        assert_eq!(format!("{back:?}"), format!("{search:?}"));
    }
    let get = VectorGet { namespace: "n".into(), id: "a".into(), consistency: Consistency::Linearizable };
    let back = vector_get_from_wire(sent(&vector_get_to_wire(get.clone()))).unwrap();
    assert_eq!(format!("{back:?}"), format!("{get:?}"));
    let unknown = "soon".to_owned();
    let get = v1::VectorGetRequest { consistency: unknown.clone(), ..Default::default() };
    assert!(vector_get_from_wire(get).is_err());
    let plain = v1::VectorSearchRequest { consistency: unknown.clone(), ..Default::default() };
    assert!(vector_search_from_v1(plain).is_err());
    let search = ext::VectorSearchRequest { consistency: unknown, ..Default::default() };
    assert!(vector_search_from_ext(search).is_err());
}

#[test]
fn a_result_survives_the_wire_and_a_vector_that_was_not_asked_for_is_none() {
    for vector in [None, Some(vec![1.0, 2.0])] {
        let found = VectorMatch { id: "a".into(), distance: -0.25, vector };
        let result = VectorSearchResult { matches: vec![found], search_time_us: 12 };
        let plain = sent(&v1::VectorSearchResponse::from(result.clone()));
        assert_eq!(VectorSearchResult::from(plain), result);
        let ours = sent(&ext::VectorSearchResult::from(result.clone()));
        assert_eq!(VectorSearchResult::from(ours), result);
    }
}
