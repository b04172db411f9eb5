//! Several clusters behind a server, whose clients know nothing of them.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use norikv_client::{RemoteStore, Settings};
use norikv_conformance::{Check, Proxy, Watcher, put};
use norikv_core::{
    Call, KeyRange, Scan, Store, StoreRef, VectorCreateIndex, VectorIndex, VectorInsert, VectorItem,
    VectorSearch, Watch,
};
use norikv_server::{Server, ServerSettings};
use norikv_vectors::VectorStore;

use super::{Clusters, scan_all};

async fn serve(store: StoreRef) -> Server {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Server::start(store, ServerSettings { listen, ..ServerSettings::default() }).await.unwrap()
}

fn client(nodes: &[SocketAddr]) -> StoreRef {
    let nodes = nodes.iter().map(|node| node.to_string().parse().unwrap()).collect();
    Arc::new(RemoteStore::http2(Settings::for_nodes(nodes)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_two_servers_scans_go_on_and_watches_are_taken_up_at_either() -> Check {
    let clusters = Clusters::two().await;
    let servers = [serve(clusters.open().await).await, serve(clusters.open().await).await];
    let proxies = [
        Proxy::start(servers[0].local_addr()).await.unwrap(),
        Proxy::start(servers[1].local_addr()).await.unwrap(),
    ];
    let store = client(&[proxies[0].local_addr(), proxies[1].local_addr()]);
    let writer = clusters.open().await;
    let mut watch = Watcher::begin(&*store, Watch::new(KeyRange::all())).await?;
    let mut told = Vec::new();
    for round in 0..6 {
        for n in 0..250 {
            put(&*writer, format!("key{round}/{n:03}"), "v").await?;
        }
        // The server that has the watch goes away, whichever it is, and comes back.
        let (away, stays) = (&proxies[round % 2], &proxies[1 - round % 2]);
        stays.heal();
        away.refuse();
        away.cut();
        while told.len() < (round + 1) * 250 {
            told.extend(watch.next().await?.events.into_iter().map(|event| event.entry.key));
        }
    }
    proxies.iter().for_each(Proxy::heal);
    assert_eq!(told.len(), 1_500, "something was told twice");
    assert_eq!(told.iter().collect::<HashSet<_>>().len(), 1_500);
    // Pages are asked of either server.
    let (entries, pages) = scan_all(&*store, Scan::new(KeyRange::all())).await?;
    assert_eq!(entries.len(), 1_500);
    assert!(pages > 1 && entries.is_sorted_by(|a, b| a.key < b.key));
    store.close().await?;
    writer.close().await?;
    for server in servers {
        server.shutdown(Duration::from_secs(5)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_in_one_cluster_and_every_server_finds_them() -> Check {
    let clusters = Clusters::two().await;
    let with_vectors = async |store| VectorStore::open(store, norikv_vectors::Settings::default()).await;
    let first = with_vectors(clusters.open().await).await?;
    let second = with_vectors(clusters.open().await).await?;
    for namespace in ["docs", "{images}"] {
        let index = VectorIndex { namespace: namespace.into(), dimensions: 2, ..VectorIndex::default() };
        assert!(
            first
                .vector_create_index(VectorCreateIndex { index, idempotency_key: None }, Call::default())
                .await?
        );
        for n in 0..50_u8 {
            // Other keys are written to both clusters meanwhile.
            put(&first, format!("key{n}"), "v").await?;
            let vectors = vec![VectorItem { id: format!("{{{n}}}"), vector: vec![f32::from(n), 1.0] }];
            let insert = VectorInsert {
                namespace: namespace.into(),
                vectors,
                idempotency_key: Some(format!("{namespace}{n}")),
            };
            first.vector_insert(insert, Call::default()).await?;
        }
    }
    let search = |k| VectorSearch {
        namespace: "{images}".into(),
        queries: vec![vec![7.2, 1.0]],
        k,
        include_vectors: true,
        ..VectorSearch::default()
    };
    let found = first.vector_search(search(2), Call::default()).await?;
    let ids: Vec<&str> = found[0].matches.iter().map(|found| &*found.id).collect();
    assert_eq!(ids, ["{7}", "{8}"]);
    // Another server has them as soon as its watch has told it.
    loop {
        match second.vector_search(search(100), Call::default()).await {
            Ok(found) if found[0].matches.len() == 50 => break,
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => assert_eq!(error.kind(), norikv_core::ErrorKind::VectorIndexNotFound),
        }
    }
    let mut homes = 0;
    for cluster in 0..2 {
        let raw = clusters.raw(cluster).await;
        homes += usize::from(raw.keys().any(|key| key.starts_with(b"\0norikv/")));
        assert!(raw.keys().any(|key| key.starts_with(b"key")));
    }
    assert_eq!(homes, 1, "vectors are in both clusters");
    first.close().await?;
    Ok(second.close().await?)
}
