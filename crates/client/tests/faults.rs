//! Lost replies, other leaders, other servers: what a call is worth when something goes wrong.
#![allow(clippy::unwrap_used)] // a test fails loudly, also in what it calls

mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use fake::{
    BATCH, GET, PUT, Replies, WATCH, World, bare, lost, memory, nodes, not_leader, refused, reply, serve,
    until,
};
use norikv_client::{Failed, Settings};
use norikv_core::{
    Call, Delete, ErrorKind, FieldName, Get, Precondition, Put, Scan, Store, StoreRef, Version,
};
use norikv_proto::v1;

/// What goes wrong with the first batch.
#[derive(Clone, Copy)]
enum First {
    /// It is carried out, and its reply is lost.
    DoneAndLost,
    /// It is lost on its way.
    Lost,
}

/// A world where the first batch goes wrong. `meanwhile` happens at the server before the next.
fn losing(first: First, meanwhile: Vec<Put>) -> (World, StoreRef) {
    let (store, broken) = (memory(), Arc::new(AtomicBool::new(false)));
    let backing = Arc::clone(&store);
    let armed = Arc::clone(&broken);
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (store, armed, meanwhile) = (Arc::clone(&backing), Arc::clone(&armed), meanwhile.clone());
        async move {
            if method != BATCH || armed.swap(true, SeqCst) {
                return serve(store, method, message).await;
            }
            if matches!(first, First::DoneAndLost) {
                let _ = serve(Arc::clone(&store), method, message).await;
            }
            for put in meanwhile {
                store.put(put, Call::default()).await.unwrap();
            }
            Err(lost())
        }
    });
    (world, store)
}

fn unknown(error: &norikv_core::Error) -> bool {
    error.kind() == ErrorKind::Unavailable
        && error.field(FieldName::Outcome).is_some_and(|outcome| outcome.to_text() == "unknown")
}

#[tokio::test]
async fn a_plain_write_whose_reply_is_lost_is_not_repeated_and_its_outcome_is_unknown() {
    for first in [First::DoneAndLost, First::Lost] {
        let (world, _) = losing(first, Vec::new());
        let error = world.store.put(Put::new("k", "1"), Call::default()).await.unwrap_err();
        assert!(unknown(&error), "{error:?}");
        assert_eq!(world.sent(BATCH).len(), 1);
    }
}

#[tokio::test]
async fn a_read_and_an_idempotent_write_are_repeated() {
    let (world, store) = losing(First::DoneAndLost, Vec::new());
    let put = Put { idempotency_key: Some("id".into()), ..Put::new("k", "1") };
    let put = world.store.put(put, Call::default()).await.unwrap();
    assert_eq!(put.version, store.status(Call::default()).await.unwrap().version);
    let (world, _) = losing(First::Lost, Vec::new());
    let get = Get { key: "k".into(), consistency: Default::default() };
    assert_eq!(world.store.get(get, Call::default()).await.unwrap(), None);
}

/// A key at a version, put before the world breaks.
async fn conditional(first: First, meanwhile: Vec<Put>, value: &'static str) -> norikv_core::Result<Version> {
    let (world, store) = losing(first, meanwhile);
    let version = store.put(Put::new("n", "5"), Call::default()).await.unwrap().version;
    let put = Put { precondition: Precondition::Version(version), ..Put::new("n", value) };
    world.store.put(put, Call::default()).await.map(|put| put.version)
}

#[tokio::test]
async fn a_conditional_write_that_got_lost_before_it_was_done_is_done_by_its_repeat() {
    assert!(conditional(First::Lost, Vec::new(), "6").await.is_ok());
}

#[tokio::test]
async fn a_mismatch_that_the_write_itself_caused_is_not_reported_as_one() {
    let error = conditional(First::DoneAndLost, Vec::new(), "6").await.unwrap_err();
    assert!(unknown(&error), "{error:?}");
}

#[tokio::test]
async fn that_somebody_wrote_the_same_value_is_not_taken_for_the_own_success() {
    // Two callers count from 5 to 6; the other one won. To claim the other's 6 would lose a count.
    let error = conditional(First::Lost, vec![Put::new("n", "6")], "6").await.unwrap_err();
    assert!(unknown(&error), "{error:?}");
}

#[tokio::test]
async fn a_mismatch_that_another_write_caused_for_certain_is_reported() {
    let error = conditional(First::Lost, vec![Put::new("n", "other")], "6").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error:?}");
    assert!(error.version(FieldName::Actual).is_some());
    // After two other writes it cannot be told any more whether the own one was before them.
    let two = vec![Put::new("n", "other"), Put::new("n", "third")];
    for first in [First::Lost, First::DoneAndLost] {
        let error = conditional(first, two.clone(), "6").await.unwrap_err();
        assert!(unknown(&error), "{error:?}");
    }
}

#[tokio::test]
async fn a_creation_whose_reply_was_lost_is_never_called_a_loss() {
    let create = Put { precondition: Precondition::NotExists, ..Put::new("k", "mine") };
    for (first, meanwhile) in [(First::DoneAndLost, Vec::new()), (First::Lost, vec![Put::new("k", "theirs")])]
    {
        let (world, _) = losing(first, meanwhile);
        let error = world.store.put(create.clone(), Call::default()).await.unwrap_err();
        assert!(unknown(&error), "{error:?}");
    }
    let (world, _) = losing(First::Lost, Vec::new());
    world.store.put(create, Call::default()).await.unwrap();
}

#[tokio::test]
async fn a_conditional_delete_whose_reply_was_lost_is_settled_by_what_is_there() {
    for (first, meanwhile, certain) in [
        (First::DoneAndLost, Vec::new(), false),
        (First::Lost, vec![Put::new("k", "kept alive")], true),
        (First::DoneAndLost, vec![Put::new("k", "created anew")], false),
    ] {
        let (world, store) = losing(first, meanwhile);
        let version = store.put(Put::new("k", "1"), Call::default()).await.unwrap().version;
        let delete = Delete { if_match: Some(version), ..Delete::new("k") };
        let error = world.store.delete(delete, Call::default()).await.unwrap_err();
        if certain {
            assert_eq!(error.kind(), ErrorKind::VersionMismatch);
        } else {
            assert!(unknown(&error), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_leaves_open_what_became_of_the_rest() {
    let world = World::new(nodes(&["a:1"]), |_, _, _| async { Ok(fake::all([])) });
    let error = world.store.put(Put::new("k", "1"), Call::default()).await.unwrap_err();
    assert!(unknown(&error), "{error:?}");
    let get = Get { key: "k".into(), consistency: Default::default() };
    let error = world.store.get(get, Call::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field(FieldName::Outcome)), (ErrorKind::Unavailable, None));
    assert_eq!(world.sent(BATCH).len(), 1 + 3, "a read is tried three times");
}

#[tokio::test]
async fn nothing_is_tried_past_the_deadline() {
    let mut settings = nodes(&["a:1"]);
    settings.retry.max_attempts = 1_000;
    let world = World::new(settings, |_, _, _| async { Err(lost()) });
    let get = Get { key: "k".into(), consistency: Default::default() };
    let call = Call::with_timeout(Duration::from_millis(100));
    let started = std::time::Instant::now();
    world.store.get(get, call).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// A cluster of `a:1`, `b:1`, `c:1`, where one leads everything and the others say so with this hint.
fn led(settings: Settings, leader: &'static str, hint: &'static str) -> World {
    let store = memory();
    World::new(settings, move |node, method, message| {
        let store = Arc::clone(&store);
        async move {
            if method == BATCH && node != leader {
                return Err(not_leader(hint));
            }
            serve(store, method, message).await
        }
    })
}

#[tokio::test]
async fn a_hint_by_address_is_followed_at_once_and_remembered() {
    let mut settings = nodes(&["a:1"]);
    settings.retry.max_attempts = 1;
    let world = led(settings, "c:1", "c:1");
    for _ in 0..3 {
        world.store.put(Put::new("k", "1"), Call::default()).await.unwrap();
    }
    let asked: Vec<_> = world.sent(BATCH).into_iter().map(|sent| sent.node).collect();
    assert_eq!(asked, ["a:1", "c:1", "c:1", "c:1"]);
    assert_eq!(world.store.stats().cached_leaders, 1);
}

#[tokio::test]
async fn two_nodes_that_name_each_other_do_not_trap_a_call() {
    let world = World::new(nodes(&["a:1", "b:1"]), |node, _, _| async move {
        Err(not_leader(if node == "a:1" { "b:1" } else { "a:1" }))
    });
    let error = world.store.put(Put::new("k", "1"), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotLeader);
    assert!(world.sent(BATCH).len() <= 8, "{}", world.sent(BATCH).len());
}

#[tokio::test]
async fn without_a_hint_the_next_node_is_asked() {
    let world = led(nodes(&["a:1", "b:1", "c:1"]), "b:1", "");
    for key in ["k", "l", "m", "n"] {
        world.store.put(Put::new(key, "1"), Call::default()).await.unwrap();
    }
}

fn view(nodes: &[(&str, &str)], leader: &str) -> v1::ClusterView {
    let node = |(id, addr): &(&str, &str)| v1::ClusterNode {
        id: (*id).into(),
        addr: (*addr).into(),
        role: "follower".into(),
    };
    let replicas = vec![v1::ShardReplica { node_id: leader.into(), leader: true }];
    v1::ClusterView {
        epoch: 7,
        nodes: nodes.iter().map(node).collect(),
        shards: (0..1024).map(|id| v1::ShardInfo { id, replicas: replicas.clone() }).collect(),
    }
}

/// A world whose nodes answer the view, except those that are down.
fn viewed(configured: &[&str], view: v1::ClusterView, down: &'static [&'static str]) -> World {
    let store = memory();
    let settings = Settings { watch_cluster: true, ..nodes(configured) };
    World::new(settings, move |node, method, message| {
        let (store, view) = (Arc::clone(&store), view.clone());
        async move {
            if down.contains(&node.as_str()) {
                return Err(refused(&node));
            }
            if method == WATCH {
                return Ok(held(reply(&view)));
            }
            serve(store, method, message).await
        }
    })
}

/// Replies that stay open after their messages.
fn held(mut replies: Replies) -> Replies {
    let (sender, open) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(reply) = replies.recv().await {
            let _ = sender.send(reply);
        }
        sender.closed().await;
    });
    open
}

async fn settled(world: &World) {
    world.store.put(Put::new("first", "1"), Call::default()).await.unwrap();
    let mut cluster = world.store.cluster().unwrap();
    cluster.wait_for(|view| view.epoch == 7).await.unwrap();
}

#[tokio::test]
async fn calls_go_to_the_leader_of_the_view() {
    let world = viewed(&["a:1"], view(&[("one", "a:1"), ("two", "b:1"), ("bad", "nowhere")], "two"), &[]);
    settled(&world).await;
    world.store.put(Put::new("k", "1"), Call::default()).await.unwrap();
    assert_eq!(world.sent(BATCH).last().unwrap().node, "b:1");
    let stats = world.store.stats();
    assert_eq!((stats.total_nodes, stats.epoch, stats.cached_leaders), (2, 7, 1024));
    world.store.close().await.unwrap();
    assert_eq!(world.open.load(SeqCst), 0, "the view is no longer followed");
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_as_advertised_does_not_make_a_configured_node_unusable() {
    // One node, behind a port mapping; and two, of which the leader advertises what only it understands.
    for view in [view(&[("one", "inside:1")], "one"), view(&[("one", "inside:1"), ("two", "b:1")], "one")] {
        let world = viewed(&["a:1"], view, &["inside:1"]);
        settled(&world).await;
        for n in 0..20 {
            world.store.put(Put::new(format!("k{n}"), "1"), Call::default()).await.unwrap();
        }
        world.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_hint_by_id_is_looked_up_in_the_view() {
    let store = memory();
    let view = v1::ClusterView { shards: Vec::new(), ..view(&[("one", "a:1"), ("two", "b:1")], "") };
    let settings = Settings { watch_cluster: true, ..nodes(&["a:1"]) };
    let world = World::new(settings, move |node, method, message| {
        let (store, view) = (Arc::clone(&store), view.clone());
        async move {
            match (method, node.as_str()) {
                (WATCH, _) => Ok(held(reply(&view))),
                (BATCH, "a:1") => Err(not_leader("two")),
                _ => serve(store, method, message).await,
            }
        }
    });
    let _ = world.store.put(Put::new("first", "1"), Call::default()).await;
    world.store.cluster().unwrap().wait_for(|view| view.epoch == 7).await.unwrap();
    for n in 0..10 {
        world.store.put(Put::new(format!("k{n}"), "1"), Call::default()).await.unwrap();
    }
    world.store.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_view_is_followed_again_after_it_broke_and_not_asked_for_in_vain_too_often() {
    let (asked, has_view) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, has) = (Arc::clone(&asked), Arc::clone(&has_view));
    let store = memory();
    let settings = Settings { watch_cluster: true, ..nodes(&["a:1"]) };
    let world = World::new(settings, move |_, method, message| {
        let (store, asked, has) = (Arc::clone(&store), Arc::clone(&count), has.load(SeqCst));
        async move {
            if method != WATCH {
                return serve(store, method, message).await;
            }
            asked.fetch_add(1, SeqCst);
            if has { Ok(reply(&view(&[("one", "a:1")], "one"))) } else { Err(bare(13, "no view")) }
        }
    });
    // Not a put: the store writes on a thread of its own, for which a paused clock does not wait.
    let get = Get { key: "k".into(), consistency: Default::default() };
    world.store.get(get, Call::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(asked.load(SeqCst) > 2, "a view that ends is followed again");
    has_view.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = asked.load(SeqCst);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(asked.load(SeqCst) <= before + 1, "a server without a view is left in peace");
    world.store.close().await.unwrap();
}

#[tokio::test]
async fn with_all_nodes_down_the_error_names_each() {
    let world = World::new(nodes(&["a:1", "b:1"]), |node, _, _| async move { Err(refused(&node)) });
    let error = world.store.put(Put::new("k", "1"), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNodesAvailable);
    assert!(error.message().contains("a:1") && error.message().contains("b:1"), "{error}");
    assert_eq!(error.field(FieldName::Outcome), None);
    let error = world.store.connect(Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNodesAvailable);
    assert!(error.message().contains("a:1") && error.message().contains("b:1"), "{error}");
}

/// A server of `norikv.v1` that knows neither batches nor "only if absent".
fn plain(present: bool) -> World {
    World::new(nodes(&["a:1"]), move |_, method, _| async move {
        match method {
            PUT => Err(bare(9, "precondition failed")),
            GET => Ok(reply(&v1::GetResponse {
                version: present.then_some(v1::Version { term: 1, index: 3 }),
                ..Default::default()
            })),
            _ => Err(bare(12, "unimplemented")),
        }
    })
}

#[tokio::test]
async fn only_if_absent_at_a_server_that_does_not_know_it_is_never_a_plain_put() {
    let create = Put { precondition: Precondition::NotExists, ..Put::new("k", "1") };
    let world = plain(true);
    let error = world.store.put(create.clone(), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(error.version(FieldName::Actual), Some(Version::new(1, 3)));
    let world = plain(false);
    let error = world.store.put(create, Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(world.sent(PUT).len(), 1);
}

#[tokio::test]
async fn a_bare_precondition_failure_is_filled_in_from_one_read() {
    for (present, actual) in [(true, Some(Version::new(1, 3))), (false, None)] {
        let world = plain(present);
        let precondition = Precondition::Version(Version::new(1, 2));
        let put = Put { precondition, ..Put::new("k", "1") };
        let error = world.store.put(put, Call::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VersionMismatch);
        assert_eq!(error.version(FieldName::Expected), Some(Version::new(1, 2)));
        assert_eq!(error.version(FieldName::Actual), actual);
        assert_eq!(world.sent(GET).len(), 1);
    }
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_sent() {
    let world = World::new(nodes(&["a:1"]), |_, _, _| async { Err(lost()) });
    let (store, call) = (&world.store, Call::default);
    let long = vec![0_u8; 1_025];
    let errors = [
        store.put(Put::new("", "v"), call()).await.unwrap_err(),
        store.put(Put::new(long.clone(), "v"), call()).await.unwrap_err(),
        store.get(Get { key: Bytes::new(), consistency: Default::default() }, call()).await.unwrap_err(),
        store.delete(Delete::new(long), call()).await.unwrap_err(),
        store
            .put(Put { idempotency_key: Some(String::new()), ..Put::new("k", "v") }, call())
            .await
            .unwrap_err(),
        store
            .scan(Scan::new(norikv_core::KeyRange { start: "b".into(), end: Some("a".into()) }), call())
            .await
            .unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidArgument), "{errors:?}");
    assert_eq!(world.open.load(SeqCst), 0);
    assert!(world.sent(BATCH).is_empty());
    until(|| true).await;
}

#[tokio::test]
async fn an_unavailable_server_that_answers_leaves_the_outcome_of_a_plain_write_open_only_if_it_gives_no_reason()
 {
    let told = norikv_core::Error::new(ErrorKind::Unavailable, "starting");
    let told = Failed::Answered(norikv_proto::failure_from_error(&told));
    for (failed, open) in [(bare(14, "upstream"), true), (told, false)] {
        let world = World::new(nodes(&["a:1"]), move |_, _, _| {
            let failed = failed.clone();
            async move { Err(failed) }
        });
        let error = world.store.put(Put::new("k", "1"), Call::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(unknown(&error), open, "{error:?}");
    }
}
