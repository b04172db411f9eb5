//! etcd's protocol as it is on the wire: what no command and no client of the other tests asks for.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

use std::{sync::Arc, time::Duration};

use etcd_client::{
    CompareOp, EventType, WatchFilterType,
    proto::{
        PbCompactionRequest, PbCompactionResponse, PbCompare, PbCompareTarget, PbDeleteRequest,
        PbDeleteResponse, PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest,
        PbLeaseKeepAliveResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbPutRequest, PbPutResponse,
        PbRangeRequest, PbRangeResponse, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest,
        PbTxnRequestOp, PbTxnResponse, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse,
    },
};
use norikv_core::StoreRef;
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_server::{Server, ServerSettings};
use tokio::{sync::mpsc, time::timeout};
use tonic::{
    Code, IntoRequest as _, Request, Status, Streaming,
    client::Grpc,
    codegen::{http::uri::PathAndQuery, tokio_stream::wrappers::UnboundedReceiverStream},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

const SOON: Duration = Duration::from_secs(20);

struct World {
    server: Server,
    store: StoreRef,
    channel: Channel,
}

fn settings() -> ServerSettings {
    ServerSettings { listen: "127.0.0.1:0".parse().unwrap(), etcd_api: true, ..ServerSettings::default() }
}

impl World {
    async fn new(settings: ServerSettings) -> Self {
        let store: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
        let server = Server::start(store.clone(), settings).await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", server.local_addr())).unwrap();
        Self { server, store, channel: channel.connect().await.unwrap() }
    }

    async fn ask<Q, R>(&self, path: &'static str, request: Q) -> Result<R, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        R: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<Q, R>::default();
        let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec);
        Ok(timeout(SOON, answer).await.expect("an answer")?.into_inner())
    }

    async fn stream<Q, R>(&self, path: &'static str) -> Both<Q, R>
    where
        Q: prost::Message + Send + Sync + 'static,
        R: prost::Message + Default + Send + Sync + 'static,
    {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<Q, R>::default();
        let stream = UnboundedReceiverStream::new(receiver).into_request();
        let answers = grpc.streaming(stream, PathAndQuery::from_static(path), codec);
        let answers = timeout(SOON, answers).await.expect("a stream").unwrap().into_inner();
        Both { requests, answers }
    }

    async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> i64 {
        let put = PbPutRequest { key: key.into(), value: value.into(), ..Default::default() };
        let put: PbPutResponse = self.ask("/etcdserverpb.KV/Put", put).await.unwrap();
        put.header.unwrap().revision
    }

    async fn get(&self, key: &str) -> Option<String> {
        let get = PbRangeRequest { key: key.into(), ..Default::default() };
        let mut found: PbRangeResponse = self.ask("/etcdserverpb.KV/Range", get).await.unwrap();
        found.kvs.pop().map(|found| String::from_utf8(found.value).unwrap())
    }

    async fn txn(&self, txn: PbTxnRequest) -> Result<PbTxnResponse, Status> {
        self.ask("/etcdserverpb.KV/Txn", txn).await
    }

    async fn watch(&self) -> Both<PbWatchRequest, PbWatchResponse> {
        self.stream("/etcdserverpb.Watch/Watch").await
    }

    async fn close(self) {
        self.server.shutdown(SOON).await.unwrap();
        self.store.close().await.unwrap();
    }
}

struct Both<Q, R> {
    requests: mpsc::UnboundedSender<Q>,
    answers: Streaming<R>,
}

impl<Q, R> Both<Q, R> {
    fn say(&self, request: Q) {
        assert!(self.requests.send(request).is_ok());
    }

    async fn hear(&mut self) -> Result<Option<R>, Status> {
        timeout(SOON, self.answers.message()).await.expect("something is said")
    }

    async fn next(&mut self) -> R {
        self.hear().await.unwrap().expect("not the end")
    }
}

/// A watch of a prefix, with an id of the client's choice, or 0.
macro_rules! watch {
    ($prefix:literal, $id:expr $(, $field:ident: $value:expr)*) => {{
        let mut request = PbWatchRequestUnion::CreateRequest(Default::default());
        if let PbWatchRequestUnion::CreateRequest(create) = &mut request {
            create.key = $prefix.into();
            create.range_end = [$prefix, "\u{7f}"].concat().into();
            create.watch_id = $id;
            $(create.$field = $value;)*
        }
        PbWatchRequest { request_union: Some(request) }
    }};
}

fn progress() -> PbWatchRequest {
    PbWatchRequest { request_union: Some(PbWatchRequestUnion::ProgressRequest(Default::default())) }
}

fn cancel(id: i64) -> PbWatchRequest {
    let mut request = PbWatchRequestUnion::CancelRequest(Default::default());
    if let PbWatchRequestUnion::CancelRequest(cancel) = &mut request {
        cancel.watch_id = id;
    }
    PbWatchRequest { request_union: Some(request) }
}

fn op(request: PbTxnOpRequest) -> PbTxnRequestOp {
    PbTxnRequestOp { request: Some(request) }
}

fn put_op(key: &str, value: &str) -> PbTxnRequestOp {
    op(PbTxnOpRequest::RequestPut(PbPutRequest {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    }))
}

fn value_is(key: &str, value: &str) -> PbCompare {
    PbCompare {
        result: CompareOp::Equal as i32,
        target: PbCompareTarget::Value as i32,
        key: key.into(),
        target_union: Some(PbTargetUnion::Value(value.into())),
        ..Default::default()
    }
}

#[tokio::test]
async fn without_the_setting_there_is_no_such_service() {
    let world = World::new(ServerSettings { etcd_api: false, ..settings() }).await;
    let get = PbRangeRequest { key: b"a".to_vec(), ..Default::default() };
    let refused = world.ask::<_, PbRangeResponse>("/etcdserverpb.KV/Range", get).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    world.close().await;
}

#[tokio::test]
async fn watches_of_one_stream_have_ids_of_the_servers_or_the_clients_choice() {
    let world = World::new(settings()).await;
    let mut watch = world.watch().await;
    for (request, id) in [(watch!("a", 0), 0), (watch!("b", 7), 7), (watch!("c", 0), 1), (watch!("a", 2), 2)]
    {
        watch.say(request);
        let created = watch.next().await;
        assert!(created.created && !created.canceled);
        assert_eq!(created.watch_id, id);
    }
    // The next free one is not the one that the client took.
    watch.say(watch!("d", 0));
    assert_eq!(watch.next().await.watch_id, 3);
    watch.say(watch!("d", 7));
    let twice = watch.next().await;
    assert!(twice.created && twice.canceled && twice.watch_id == -1);
    assert_eq!(twice.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    watch.say(watch!("d", 9, range_end: b"a".to_vec()));
    assert_eq!(watch.next().await.cancel_reason, "mvcc: watcher range is empty");
    world.put("b1", "x").await;
    let told = watch.next().await;
    assert_eq!((told.watch_id, told.events.len()), (7, 1));
    watch.say(cancel(7));
    let canceled = watch.next().await;
    assert!(canceled.canceled && canceled.watch_id == 7);
    // An id is free again once its watch is gone.
    watch.say(watch!("b", 7));
    assert!(!watch.next().await.canceled);
    world.close().await;
}

#[tokio::test]
async fn filters_leave_out_and_prev_kv_adds_what_was_there() {
    let world = World::new(settings()).await;
    world.put("a", "1").await;
    let mut watch = world.watch().await;
    watch.say(watch!("a", 1, filters: vec![WatchFilterType::NoPut as i32], prev_kv: true));
    watch.next().await;
    world.put("a", "2").await;
    let delete = PbDeleteRequest { key: b"a".to_vec(), ..Default::default() };
    let deleted: PbDeleteResponse = world.ask("/etcdserverpb.KV/DeleteRange", delete).await.unwrap();
    let told = watch.next().await;
    let [event] = &told.events[..] else { panic!("{told:?}") };
    assert_eq!(event.r#type, EventType::Delete as i32);
    let found = event.kv.as_ref().unwrap();
    assert_eq!((found.mod_revision, found.version), (deleted.header.unwrap().revision, 0));
    assert_eq!(event.prev_kv.as_ref().unwrap().value, b"2");
    world.close().await;
}

#[tokio::test]
async fn a_revision_that_is_too_large_for_a_message_comes_in_fragments_to_who_takes_them() {
    let world = World::new(settings()).await;
    let mut watch = world.watch().await;
    watch.say(watch!("k", 1, fragment: true));
    watch.next().await;
    let mut plain = world.watch().await;
    plain.say(watch!("k", 1));
    plain.next().await;
    let large = "v".repeat(700_000);
    let ops = (0..4).map(|at| put_op(&format!("k{at}"), &large)).collect();
    world.txn(PbTxnRequest { success: ops, ..Default::default() }).await.unwrap();
    let mut keys = Vec::new();
    for left in (0..4).rev() {
        let told = watch.next().await;
        assert_eq!(told.fragment, left > 0);
        keys.extend(told.events.into_iter().map(|event| event.kv.unwrap().key));
    }
    assert_eq!(keys, [b"k0", b"k1", b"k2", b"k3"]);
    let told = plain.next().await;
    assert_eq!((told.events.len(), told.fragment), (4, false));
    world.close().await;
}

#[tokio::test]
async fn progress_is_told_when_all_watches_have_come_so_far() {
    let world = World::new(settings()).await;
    let mut watch = world.watch().await;
    watch.say(watch!("a", 1));
    watch.next().await;
    // All of them have: nothing was written.
    watch.say(progress());
    let told = watch.next().await;
    assert_eq!((told.watch_id, told.header.unwrap().revision, told.events.len()), (-1, 1, 0));
    let revision = world.put("a", "1").await;
    watch.say(progress());
    let (mut events, mut through) = (0, 0);
    while through == 0 {
        let told = watch.next().await;
        events += told.events.len();
        if told.watch_id == -1 {
            through = told.header.unwrap().revision;
        }
    }
    assert_eq!((events, through), (1, revision), "the event was told before it is said that none is missing");
    world.close().await;
}

#[tokio::test]
async fn a_watch_of_what_is_compacted_ends_and_says_what_is_left() {
    let world = World::new(settings()).await;
    for value in ["1", "2", "3"] {
        world.put("a", value).await;
    }
    let compact = PbCompactionRequest { revision: 4, physical: true };
    world.ask::<_, PbCompactionResponse>("/etcdserverpb.KV/Compact", compact).await.unwrap();
    let mut watch = world.watch().await;
    watch.say(watch!("a", 5, start_revision: 2));
    let created = watch.next().await;
    assert!(created.created && !created.canceled && created.watch_id == 5);
    let ended = watch.next().await;
    assert!(ended.canceled && ended.watch_id == 5 && ended.compact_revision == 4);
    // The stream goes on.
    watch.say(watch!("a", 5, start_revision: 4));
    assert!(!watch.next().await.canceled);
    assert_eq!(watch.next().await.events[0].kv.as_ref().unwrap().value, b"3");
    world.close().await;
}

#[tokio::test]
async fn watches_past_the_limit_of_a_connection_are_refused_and_the_others_go_on() {
    let world = World::new(ServerSettings { max_watches_per_connection: 3, ..settings() }).await;
    let mut watch = world.watch().await;
    for id in [1, 2] {
        watch.say(watch!("a", id));
        assert!(!watch.next().await.canceled);
    }
    watch.say(watch!("a", 3));
    let refused = watch.next().await;
    assert!(refused.canceled && refused.cancel_reason.contains("max_watches_per_connection"), "{refused:?}");
    watch.say(cancel(1));
    watch.next().await;
    // Room is there again once the watch that was cancelled is gone.
    let mut created = false;
    while !created {
        watch.say(watch!("b", 3));
        let answer = watch.next().await;
        created = answer.created && !answer.canceled;
    }
    world.put("a", "1").await;
    assert_eq!(watch.next().await.watch_id, 2);
    world.close().await;
}

#[tokio::test]
async fn streams_end_with_the_server_and_keep_it_from_nothing() {
    let world = World::new(settings()).await;
    let mut watch = world.watch().await;
    watch.say(watch!("a", 1));
    watch.next().await;
    let mut keeper = world
        .stream::<PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse>("/etcdserverpb.Lease/LeaseKeepAlive")
        .await;
    let ended = async {
        let watched = watch.hear().await.unwrap_err();
        let kept = keeper.hear().await.unwrap_err();
        (watched, kept)
    };
    let shutdown = timeout(SOON, world.server.shutdown(Duration::from_secs(60)));
    let ((watched, kept), shutdown) = tokio::join!(ended, shutdown);
    shutdown.expect("streams do not hold the server").unwrap();
    for status in [watched, kept] {
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
    }
    world.store.close().await.unwrap();
}

#[tokio::test]
async fn a_lease_may_have_an_id_of_the_clients_choice_also_below_zero() {
    let world = World::new(settings()).await;
    let grant = |id| PbLeaseGrantRequest { ttl: 60, id };
    let granted: PbLeaseGrantResponse = world.ask("/etcdserverpb.Lease/LeaseGrant", grant(-7)).await.unwrap();
    assert_eq!((granted.id, granted.ttl), (-7, 60));
    let twice = world.ask::<_, PbLeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", grant(-7)).await;
    let twice = twice.unwrap_err();
    assert_eq!(
        (twice.code(), twice.message()),
        (Code::FailedPrecondition, "etcdserver: lease already exists")
    );
    let mut keeper = world
        .stream::<PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse>("/etcdserverpb.Lease/LeaseKeepAlive")
        .await;
    for (id, ttl) in [(-7, 60), (8, 0), (-7, 60)] {
        keeper.say(PbLeaseKeepAliveRequest { id });
        let kept = keeper.next().await;
        assert_eq!((kept.id, kept.ttl), (id, ttl));
    }
    let revoke = PbLeaseRevokeRequest { id: -7 };
    world.ask::<_, PbLeaseRevokeResponse>("/etcdserverpb.Lease/LeaseRevoke", revoke).await.unwrap();
    drop(keeper.requests);
    assert!(
        timeout(SOON, keeper.answers.message()).await.unwrap().unwrap().is_none(),
        "it ends as it is asked to"
    );
    world.close().await;
}

#[tokio::test]
async fn a_transaction_within_is_decided_by_what_was_there_before_all_of_it() {
    let world = World::new(settings()).await;
    world.put("a", "1").await;
    let inner = PbTxnRequest {
        compare: vec![value_is("a", "1")],
        success: vec![put_op("inner", "then")],
        failure: vec![put_op("inner", "else")],
    };
    let read = PbRangeRequest { key: b"a".to_vec(), ..Default::default() };
    let txn = PbTxnRequest {
        compare: vec![value_is("a", "1")],
        success: vec![
            put_op("a", "2"),
            op(PbTxnOpRequest::RequestTxn(inner)),
            op(PbTxnOpRequest::RequestRange(read)),
        ],
        failure: Vec::new(),
    };
    let done = world.txn(txn).await.unwrap();
    assert!(done.succeeded && done.header.unwrap().revision == 3);
    let Some(PbTxnOpResponse::ResponseTxn(within)) = &done.responses[1].response else {
        panic!("{:?}", done.responses)
    };
    assert!(within.succeeded);
    let Some(PbTxnOpResponse::ResponseRange(range)) = &done.responses[2].response else {
        panic!("{:?}", done.responses)
    };
    assert_eq!((range.kvs[0].value.as_slice(), range.count), (&b"2"[..], 1));
    assert_eq!(world.get("inner").await.as_deref(), Some("then"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_within_that_are_made_at_the_same_time_lose_nothing() {
    let world = Arc::new(World::new(settings()).await);
    world.put("n", "0").await;
    let add = async |world: Arc<World>| {
        for _ in 0..25 {
            loop {
                let found = world.get("n").await.unwrap();
                let next = (found.parse::<u32>().unwrap() + 1).to_string();
                let inner = PbTxnRequest {
                    compare: vec![value_is("n", &found)],
                    success: vec![put_op("n", &next)],
                    failure: Vec::new(),
                };
                let txn = PbTxnRequest {
                    success: vec![op(PbTxnOpRequest::RequestTxn(inner))],
                    ..Default::default()
                };
                let done = world.txn(txn).await.unwrap();
                let Some(PbTxnOpResponse::ResponseTxn(within)) = &done.responses[0].response else {
                    panic!()
                };
                if within.succeeded {
                    break;
                }
            }
        }
    };
    tokio::join!(add(world.clone()), add(world.clone()), add(world.clone()), add(world.clone()));
    assert_eq!(world.get("n").await.as_deref(), Some("100"));
    Arc::into_inner(world).unwrap().close().await;
}

#[tokio::test]
async fn a_condition_on_a_range_holds_of_every_key_where_nothing_is_written_and_is_refused_elsewhere() {
    let world = World::new(settings()).await;
    world.put("r/a", "1").await;
    world.put("r/b", "1").await;
    let all = |value| PbCompare { range_end: b"r0".to_vec(), ..value_is("r/", value) };
    let txn = |value, success| PbTxnRequest { compare: vec![all(value)], success, failure: Vec::new() };
    assert!(world.txn(txn("1", Vec::new())).await.unwrap().succeeded);
    world.put("r/b", "2").await;
    assert!(!world.txn(txn("1", Vec::new())).await.unwrap().succeeded);
    let refused = world.txn(txn("1", vec![put_op("w", "1")])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("range_end"), "{refused}");
    assert_eq!(world.get("w").await, None);
    world.close().await;
}
