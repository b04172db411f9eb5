//! Many streams in one, as pages have them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use common::{Client, SOON, serve, settings};
use norikv_core::Version;
use norikv_proto::{
    ext::{self, piece::What},
    v1,
};
use norikv_server::ServerSettings;
use prost::Message;
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming};

const WATCH: &str = "/norikv.ext.v1.Watch/Watch";
const NAME: Bytes = Bytes::from_static(b"0123456789abcdef");
const MUCH: u64 = 1024 * 1024;

fn begin(stream: u32, key: &'static str, credit: u64) -> ext::Begin {
    let end = Bytes::from([key.as_bytes(), b"\0"].concat());
    let watch = ext::WatchRequest {
        range: Some(ext::Range { start: key.into(), end: Some(end) }),
        ..Default::default()
    };
    ext::Begin { stream, method: WATCH.to_owned(), message: watch.encode_to_vec().into(), credit }
}

struct Session {
    client: Client,
    pieces: Streaming<ext::Pieces>,
    unread: VecDeque<ext::Piece>,
}

impl Session {
    async fn open(client: &Client, begin: Vec<ext::Begin>) -> Self {
        let mut pieces = open(client, NAME, begin).await.unwrap();
        let first = timeout(SOON, pieces.message()).await.unwrap().unwrap().unwrap();
        assert!(first.pieces.is_empty(), "{first:?}");
        Self { client: client.clone(), pieces, unread: VecDeque::new() }
    }

    async fn next(&mut self) -> Option<(u32, What)> {
        while self.unread.is_empty() {
            self.unread = timeout(SOON, self.pieces.message()).await.unwrap().unwrap()?.pieces.into();
        }
        self.unread.pop_front().map(|piece| (piece.stream, piece.what.unwrap()))
    }

    async fn answer(&mut self) -> (u32, ext::WatchResponse) {
        match self.next().await.unwrap() {
            (stream, What::Message(message)) => (stream, ext::WatchResponse::decode(message).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    async fn end(&mut self) -> (u32, ext::Failure) {
        loop {
            if let (stream, What::Ended(failure)) = self.next().await.unwrap() {
                return (stream, failure);
            }
        }
    }

    async fn tell(&self, told: ext::TellRequest) -> Result<ext::TellResponse, Status> {
        let told = ext::TellRequest { session: NAME, ..told };
        self.client.unary("/norikv.ext.v1.Streams/Tell", Request::new(told)).await
    }
}

async fn open(
    client: &Client,
    session: Bytes,
    begin: Vec<ext::Begin>,
) -> Result<Streaming<ext::Pieces>, Status> {
    let request = Request::new(ext::OpenRequest { session, begin });
    client.stream("/norikv.ext.v1.Streams/Open", request).await
}

#[tokio::test]
async fn streams_answer_under_their_numbers_whenever_they_began() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut session = Session::open(&client, vec![begin(1, "a", MUCH)]).await;
    assert!(matches!(session.answer().await, (1, answer) if answer.created.is_some()));
    let view = v1::ClusterView::default().encode_to_vec().into();
    let method = "/norikv.v1.Meta/WatchCluster".to_owned();
    let cluster = ext::Begin { stream: 3, method, message: view, credit: MUCH };
    session
        .tell(ext::TellRequest { begin: vec![begin(2, "b", MUCH), cluster], ..Default::default() })
        .await
        .unwrap();
    let mut begun = Vec::new();
    for _ in 0..2 {
        let Some((stream, What::Message(message))) = session.next().await else { panic!("no answer") };
        if stream == 3 {
            assert_eq!(v1::ClusterView::decode(message).unwrap().nodes.len(), 1);
        }
        begun.push(stream);
    }
    begun.sort_unstable();
    assert_eq!(begun, [2, 3]);
    let version: Version = store.write(["b".into()], &"v".into());
    let (stream, told) = session.answer().await;
    assert_eq!((stream, told.batches[0].version.unwrap().index), (2, version.index));
    store.write(["a".into()], &"v".into());
    assert_eq!(session.answer().await.0, 1);
    drop(session);
    store.feed.until_open(0).await;
}

#[tokio::test]
async fn a_stream_that_is_ended_says_nothing_more_and_is_no_longer_counted() {
    let settings = ServerSettings { max_watches_per_connection: 2, ..settings() };
    let (server, store) = serve(settings).await;
    let client = Client::connect(server.local_addr()).await;
    // The session itself counts as one.
    let mut session = Session::open(&client, vec![begin(1, "a", MUCH)]).await;
    session.answer().await;
    let more = |stream| ext::TellRequest { begin: vec![begin(stream, "b", MUCH)], ..Default::default() };
    session.tell(more(2)).await.unwrap();
    let (stream, refused) = session.end().await;
    assert_eq!((stream, refused.reason.as_str()), (2, "RESOURCE_EXHAUSTED"));
    session.tell(ext::TellRequest { end: vec![1], ..Default::default() }).await.unwrap();
    store.feed.until_open(0).await;
    session.tell(more(3)).await.unwrap();
    assert_eq!(session.answer().await.0, 3);
    store.write(["a".into()], &"v".into());
    store.write(["b".into()], &"v".into());
    assert_eq!(session.answer().await.0, 3);
}

#[tokio::test]
async fn a_stream_without_credit_waits_and_holds_up_no_other() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut session = Session::open(&client, vec![begin(1, "slow", 1), begin(2, "quick", MUCH)]).await;
    // The first answer of each, which takes all that the slow one has.
    session.answer().await;
    session.answer().await;
    store.write(["slow".into()], &"v".into());
    store.write(["quick".into()], &"v".into());
    assert_eq!(session.answer().await.0, 2);
    store.write(["quick".into()], &"v".into());
    assert_eq!(session.answer().await.0, 2);
    let credit = vec![ext::Credit { stream: 1, bytes: MUCH }];
    session.tell(ext::TellRequest { credit, ..Default::default() }).await.unwrap();
    assert_eq!(session.answer().await.0, 1);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let short = open(&client, "short".into(), Vec::new()).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    let nested =
        |stream| ext::Begin { method: "/norikv.ext.v1.Streams/Open".to_owned(), ..begin(stream, "a", MUCH) };
    let mut session = Session::open(&client, vec![nested(1)]).await;
    assert_eq!(session.end().await.1.code, Code::Unimplemented as i32);
    let taken = open(&client, NAME, Vec::new()).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    for (stream, method) in [
        (2, "no method"),
        (3, "/norikv.ext.v1.Watch/None"),
        (4, "/norikv.v1.Kv/Put"),
        (5, "http://x/norikv.ext.v1.Streams/Open"),
    ] {
        let wrong = ext::Begin { method: method.to_owned(), ..begin(stream, "a", MUCH) };
        session.tell(ext::TellRequest { begin: vec![wrong], ..Default::default() }).await.unwrap();
        let (of, failure) = session.end().await;
        assert_eq!((of, failure.code), (stream, Code::Unimplemented as i32), "{method}");
    }
    let other = Client::connect(server.local_addr()).await;
    drop(session);
    // Once its client is gone, so is the session, and its name is free.
    let again = async {
        while let Err(status) = open(&other, NAME, Vec::new()).await {
            assert_eq!(status.code(), Code::AlreadyExists);
        }
    };
    timeout(SOON, again).await.unwrap();
    let unknown = ext::TellRequest { session: Bytes::from_static(b"fedcba9876543210"), ..Default::default() };
    let unknown = other
        .unary::<_, ext::TellResponse>("/norikv.ext.v1.Streams/Tell", Request::new(unknown))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_server_that_shuts_down_ends_each_stream_with_why_and_then_the_session() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut session = Session::open(&client, vec![begin(1, "a", MUCH)]).await;
    session.answer().await;
    let (down, ()) = tokio::join!(server.shutdown(Duration::from_secs(10)), async {
        let (stream, failure) = session.end().await;
        assert_eq!((stream, failure.code), (1, Code::Unavailable as i32));
        assert!(session.next().await.is_none());
        drop(session);
        drop(client);
    });
    down.unwrap();
}

#[tokio::test]
async fn a_number_that_is_taken_ends_the_session() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut session = Session::open(&client, vec![begin(1, "a", MUCH)]).await;
    session.answer().await;
    let again = vec![begin(1, "b", MUCH)];
    session.tell(ext::TellRequest { begin: again, ..Default::default() }).await.unwrap();
    let end = timeout(SOON, session.pieces.message()).await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::InvalidArgument);
    drop(session);
    store.feed.until_open(0).await;
}

#[tokio::test]
async fn a_session_has_a_bound_of_streams() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let view = |stream| ext::Begin {
        method: "/norikv.v1.Meta/WatchCluster".to_owned(),
        message: Bytes::new(),
        ..begin(stream, "a", 1)
    };
    let mut session = Session::open(&client, (0..1_025).map(view).collect()).await;
    let (stream, refused) = session.end().await;
    assert_eq!((stream, refused.reason.as_str()), (1_024, "RESOURCE_EXHAUSTED"));
}

#[tokio::test]
async fn a_stream_without_credit_does_not_hold_up_the_end_of_a_server() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut session = Session::open(&client, vec![begin(1, "a", 1)]).await;
    session.answer().await;
    let started = std::time::Instant::now();
    let (down, ()) = tokio::join!(server.shutdown(Duration::from_secs(30)), async {
        assert_eq!(session.end().await.1.code, Code::Unavailable as i32);
        assert!(session.next().await.is_none());
        drop(session);
        drop(client);
    });
    down.unwrap();
    assert!(started.elapsed() < SOON);
}
