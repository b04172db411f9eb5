//! Vectors over gRPC: `norikv.v1.Vector`, and `norikv.ext.v1.Vectors` with what the former has no field for.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::sync::Arc;

use common::{Client, serve, settings};
use norikv_embedded::EmbeddedStore;
use norikv_proto::{ext, v1};
use norikv_server::{Server, ServerSettings};
use prost::Message;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

/// One call of either service.
async fn ask<A: Message + Default + 'static>(
    client: &Client,
    path: &'static str,
    request: impl Message + 'static,
) -> Result<A, Status> {
    client.unary(path, Request::new(request)).await
}

async fn create(client: &Client, dimensions: u32) -> Result<v1::CreateVectorIndexResponse, Status> {
    let request = v1::CreateVectorIndexRequest {
        namespace: "n".into(),
        dimensions,
        distance: v1::DistanceFunction::Euclidean.into(),
        index_type: v1::VectorIndexType::BruteForce.into(),
        ..Default::default()
    };
    ask(client, "/norikv.v1.Vector/CreateIndex", request).await
}

async fn insert(client: &Client, id: &str, vector: Vec<f32>) -> Result<v1::VectorInsertResponse, Status> {
    let request =
        v1::VectorInsertRequest { namespace: "n".into(), id: id.into(), vector, ..Default::default() };
    ask(client, "/norikv.v1.Vector/Insert", request).await
}

async fn get(client: &Client, id: &str) -> v1::VectorGetResponse {
    let request = v1::VectorGetRequest { namespace: "n".into(), id: id.into(), ..Default::default() };
    ask(client, "/norikv.v1.Vector/Get", request).await.unwrap()
}

async fn delete(client: &Client, id: &str) -> bool {
    let request = v1::VectorDeleteRequest { namespace: "n".into(), id: id.into(), ..Default::default() };
    ask::<v1::VectorDeleteResponse>(client, "/norikv.v1.Vector/Delete", request).await.unwrap().deleted
}

async fn search(client: &Client, query: Vec<f32>, k: u32) -> Result<v1::VectorSearchResponse, Status> {
    let request = v1::VectorSearchRequest { namespace: "n".into(), query, k, ..Default::default() };
    ask(client, "/norikv.v1.Vector/Search", request).await
}

async fn insert_many(
    client: &Client,
    vectors: Vec<ext::VectorItem>,
) -> Result<ext::VectorInsertManyResponse, Status> {
    let request = ext::VectorInsertManyRequest { namespace: "n".into(), vectors, ..Default::default() };
    ask(client, "/norikv.ext.v1.Vectors/InsertMany", request).await
}

async fn search_many(
    client: &Client,
    queries: usize,
    dimensions: usize,
    change: impl FnOnce(&mut ext::VectorSearchRequest),
) -> Result<ext::VectorSearchResponse, Status> {
    let mut request = ext::VectorSearchRequest {
        namespace: "n".into(),
        queries: vec![ext::VectorQuery { vector: vec![1.0; dimensions] }; queries],
        k: 10,
        ..Default::default()
    };
    change(&mut request);
    ask(client, "/norikv.ext.v1.Vectors/Search", request).await
}

fn items(count: usize, dimensions: usize, id_bytes: usize) -> Vec<ext::VectorItem> {
    let item = |number| ext::VectorItem { id: format!("{number:0id_bytes$}"), vector: vec![1.0; dimensions] };
    (0..count).map(item).collect()
}

#[tokio::test]
async fn vectors_are_served_to_every_client_of_the_protocol() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    assert!(create(&client, 2).await.unwrap().created);
    assert!(!create(&client, 2).await.unwrap().created);
    let first = insert(&client, "a", vec![0.0, 1.0]).await.unwrap();
    let second = insert(&client, "b", vec![0.0, 3.0]).await.unwrap();
    assert!(first.inserted && second.inserted);
    assert!(second.version.unwrap().index > first.version.unwrap().index);
    assert_eq!(get(&client, "a").await, v1::VectorGetResponse { vector: vec![0.0, 1.0], found: true });
    assert_eq!(get(&client, "c").await, v1::VectorGetResponse { vector: Vec::new(), found: false });
    let found = search(&client, vec![0.0, 2.5], 5).await.unwrap();
    let near = |id: &str, distance| v1::VectorMatch { id: id.into(), distance, vector: Vec::new() };
    assert_eq!(found.matches, [near("b", 0.5), near("a", 1.5)]);
    assert_eq!(found.search_time_us, 5);
    let asked = v1::VectorSearchRequest {
        namespace: "n".into(),
        query: vec![0.0, 2.5],
        k: 1,
        include_vectors: true,
        ..Default::default()
    };
    let found: v1::VectorSearchResponse = ask(&client, "/norikv.v1.Vector/Search", asked).await.unwrap();
    assert_eq!(found.matches[0].vector, [0.0, 3.0]);
    assert!(delete(&client, "a").await);
    assert!(!delete(&client, "a").await);
    for dropped in [true, false] {
        let request = v1::DropVectorIndexRequest { namespace: "n".into(), ..Default::default() };
        let answer: v1::DropVectorIndexResponse =
            ask(&client, "/norikv.v1.Vector/DropIndex", request).await.unwrap();
        assert_eq!(answer.dropped, dropped);
    }
}

#[tokio::test]
async fn indexes_are_listed_with_what_they_are() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let index = ext::VectorIndex {
        namespace: "q".into(),
        dimensions: 4,
        distance: v1::DistanceFunction::Cosine.into(),
        index_type: v1::VectorIndexType::Hnsw.into(),
        quantization: ext::Quantization::Int8.into(),
    };
    let request =
        ext::VectorCreateIndexRequest { index: Some(index.clone()), idempotency_key: String::new() };
    let created: ext::VectorCreateIndexResponse =
        ask(&client, "/norikv.ext.v1.Vectors/CreateIndex", request).await.unwrap();
    assert!(created.created);
    create(&client, 2).await.unwrap();
    insert_many(&client, items(3, 2, 1)).await.unwrap();
    let list: ext::VectorListResponse =
        ask(&client, "/norikv.ext.v1.Vectors/List", ext::VectorListRequest {}).await.unwrap();
    let [plain, quantized] = &list.indexes[..] else { panic!("{list:?}") };
    assert_eq!(quantized.index, Some(index));
    assert_eq!((plain.vectors, plain.indexed, plain.memory_bytes), (3, 1, 2));
    assert!(plain.created.unwrap().index > quantized.created.unwrap().index);
}

#[tokio::test]
async fn an_enum_that_says_nothing_creates_nothing() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    for (distance, index_type) in [(0, 1), (1, 0), (9, 1), (1, 9)] {
        let request = v1::CreateVectorIndexRequest {
            namespace: "n".into(),
            dimensions: 2,
            distance,
            index_type,
            ..Default::default()
        };
        let refused: Result<v1::CreateVectorIndexResponse, _> =
            ask(&client, "/norikv.v1.Vector/CreateIndex", request).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        let index = ext::VectorIndex {
            namespace: "n".into(),
            dimensions: 2,
            distance,
            index_type,
            ..Default::default()
        };
        let request = ext::VectorCreateIndexRequest { index: Some(index), ..Default::default() };
        let refused: Result<ext::VectorCreateIndexResponse, _> =
            ask(&client, "/norikv.ext.v1.Vectors/CreateIndex", request).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(insert(&client, "a", vec![1.0, 2.0]).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_refusal_has_its_code_its_reason_and_its_fields() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let told = |status: Status| {
        let info = status.get_details_error_info().unwrap();
        (status.code(), info.reason, info.metadata)
    };
    let (code, reason, _) = told(insert(&client, "a", vec![1.0]).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (Code::NotFound, "VECTOR_INDEX_NOT_FOUND"));
    create(&client, 2).await.unwrap();
    let (code, reason, _) = told(create(&client, 3).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (Code::AlreadyExists, "VECTOR_INDEX_EXISTS"));
    let refused = [
        insert(&client, "a", vec![1.0, 2.0, 3.0]).await.unwrap_err(),
        search(&client, vec![1.0, 2.0, 3.0], 1).await.unwrap_err(),
        insert_many(&client, items(2, 3, 1)).await.unwrap_err(),
        search_many(&client, 2, 3, |_| {}).await.unwrap_err(),
    ];
    for status in refused {
        let (code, reason, fields) = told(status);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "VECTOR_DIMENSION_MISMATCH"));
        assert_eq!((fields["expected"].as_str(), fields["actual"].as_str()), ("2", "3"));
    }
    let wrong = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30];
    for number in wrong {
        let (code, reason, _) = told(insert(&client, "a", vec![1.0, number]).await.unwrap_err());
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"));
    }
    assert!(!get(&client, "a").await.found);
}

#[tokio::test]
async fn requests_as_large_as_may_be_are_taken_and_larger_ones_are_invalid() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    create(&client, 4_096).await.unwrap();
    insert(&client, &"i".repeat(512), vec![1.0; 4_096]).await.unwrap();
    insert_many(&client, items(100, 4_096, 512)).await.unwrap();
    assert_eq!(search_many(&client, 100, 4_096, |_| {}).await.unwrap().results.len(), 100);
    let long = insert(&client, "a", vec![1.0; 5_000]).await.unwrap_err();
    assert!(long.code() == Code::InvalidArgument && long.message().contains("5000"), "{long:?}");
    let refused = [
        insert(&client, &"i".repeat(513), vec![1.0; 4_096]).await.unwrap_err(),
        insert(&client, "a", vec![1.0; 1_000_000]).await.unwrap_err(),
        insert_many(&client, items(101, 4_096, 1)).await.unwrap_err(),
        insert_many(&client, items(1_000, 4_096, 1)).await.unwrap_err(),
        search_many(&client, 101, 4_096, |_| {}).await.unwrap_err(),
        search(&client, vec![1.0; 4_096], 0).await.unwrap_err(),
        search(&client, vec![1.0; 4_096], 1 << 31).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test]
async fn an_answer_has_a_bound_and_more_may_be_asked_for_than_there_is() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    create(&client, 4_096).await.unwrap();
    insert(&client, "a", vec![1.0; 4_096]).await.unwrap();
    let whole =
        |request: &mut ext::VectorSearchRequest| (request.k, request.include_vectors) = (10_000, true);
    let few = search_many(&client, 100, 4_096, whole).await.unwrap();
    assert!(few.results.iter().all(|result| result.matches[0].vector.len() == 4_096));
    insert_many(&client, items(100, 4_096, 1)).await.unwrap();
    let before = store.vectors.last();
    let refused = search_many(&client, 100, 4_096, whole).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(store.vectors.last(), before, "nothing is gathered in vain");
    assert!(search_many(&client, 100, 4_096, |request| request.k = 10_000).await.is_ok());

    // Ids alone can be too much, which is known only when they are there.
    let request = v1::DropVectorIndexRequest { namespace: "n".into(), ..Default::default() };
    let _: v1::DropVectorIndexResponse = ask(&client, "/norikv.v1.Vector/DropIndex", request).await.unwrap();
    create(&client, 1).await.unwrap();
    let mut many = items(1_300, 1, 512);
    while !many.is_empty() {
        insert_many(&client, many.split_off(many.len() - 100)).await.unwrap();
    }
    let refused = search_many(&client, 100, 1, |request| request.k = 1_300).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(search_many(&client, 100, 1, |request| request.k = 1_000).await.is_ok());
}

#[tokio::test]
async fn the_bound_of_an_answer_is_of_what_a_filter_leaves() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    create(&client, 4_096).await.unwrap();
    insert(&client, "a", vec![1.0; 4_096]).await.unwrap();
    let mut far = items(100, 4_096, 1);
    far.iter_mut().for_each(|item| item.vector.fill(2.0));
    insert_many(&client, far).await.unwrap();
    let whole = |prefix: &str, max_distance: Option<f32>| {
        let id_prefix = prefix.to_owned();
        search_many(&client, 100, 4_096, move |request| {
            (request.k, request.include_vectors) = (10_000, true);
            (request.id_prefix, request.max_distance) = (id_prefix, max_distance);
        })
    };
    for (prefix, max_distance) in [("a", None), ("", Some(0.5)), ("a", Some(0.5))] {
        let found = whole(prefix, max_distance).await.unwrap();
        assert!(found.results.iter().all(|result| result.matches.len() == 1), "{prefix:?} {max_distance:?}");
    }
    // What a filter leaves can be too much, too.
    let refused = whole("", Some(1_000.0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_server_of_norikv_v1_alone_serves_its_vectors_and_no_others() {
    let (server, _store) = serve(ServerSettings { norikv_v1_only: true, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    create(&client, 2).await.unwrap();
    insert(&client, "a", vec![0.0, 1.0]).await.unwrap();
    assert_eq!(search(&client, vec![0.0, 1.0], 1).await.unwrap().matches.len(), 1);
    let refused = [
        insert_many(&client, items(1, 2, 1)).await.unwrap_err(),
        search_many(&client, 1, 2, |_| {}).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!((status.code(), status.details()), (Code::Unimplemented, &[][..]));
    }
    for (service, right) in [("norikv.v1.Vector", true), ("norikv.ext.v1.Vectors", false)] {
        let request = HealthCheckRequest { service: service.into() };
        let health: Result<HealthCheckResponse, _> =
            ask(&client, "/grpc.health.v1.Health/Check", request).await;
        assert_eq!(health.is_ok(), right, "{service}");
    }
}

#[tokio::test]
async fn a_store_without_vectors_says_so_with_its_reason() {
    let store = EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap();
    let server = Server::start(Arc::new(store), settings()).await.unwrap();
    let client = Client::connect(server.local_addr()).await;
    let refused =
        [create(&client, 2).await.unwrap_err(), insert_many(&client, items(1, 2, 1)).await.unwrap_err()];
    for status in refused {
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.get_details_error_info().unwrap().reason, "UNSUPPORTED");
    }
    assert_eq!(client.status().await.unwrap().vectors, None);
}
