//! `RemoteStore` against real servers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use norikv_client::{Http2Transport, RemoteStore, Settings};
use norikv_core::{
    Call, Consistency, Count, Delete, DeleteRange, Entry, ErrorKind, FieldName, Get, GetMany, KeyRange,
    Precondition, Put, Result, Scan, Store, StoreRef,
};
use norikv_embedded::EmbeddedStore;
use norikv_server::{Server, ServerSettings};

type Remote = RemoteStore<Http2Transport>;

async fn serve_at(store: StoreRef, listen: SocketAddr, norikv_v1_only: bool) -> Server {
    let settings = ServerSettings { listen, norikv_v1_only, ..ServerSettings::default() };
    Server::start(store, settings).await.unwrap()
}

fn memory() -> StoreRef {
    Arc::new(EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap())
}

async fn serve(norikv_v1_only: bool) -> Server {
    serve_at(memory(), SocketAddr::from(([127, 0, 0, 1], 0)), norikv_v1_only).await
}

fn remote(address: SocketAddr) -> Arc<Remote> {
    let node = address.to_string().parse().unwrap();
    Arc::new(RemoteStore::http2(Settings::for_nodes(vec![node])).unwrap())
}

/// What the driver of a store does: keeps the deadline.
async fn within<R>(call: Call, work: impl Future<Output = Result<R>>) -> Result<R> {
    match tokio::time::timeout(call.remaining(), work).await {
        Ok(result) => result,
        Err(_) => Err(call.deadline_exceeded()),
    }
}

fn get(key: &'static str) -> Get {
    Get { key: key.into(), consistency: Consistency::Linearizable }
}

async fn read(store: &Remote, key: &'static str) -> Option<Entry> {
    store.get(get(key), Call::default()).await.unwrap()
}

fn number(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap())
}

#[tokio::test]
async fn what_is_put_is_got_deleted_scanned_and_counted() {
    let server = serve(false).await;
    let store = remote(server.local_addr());
    let call = Call::default;
    assert_eq!(store.get(get("a"), call()).await.unwrap(), None);
    let put = store.put(Put::new("a", ""), call()).await.unwrap();
    let entry = read(&store, "a").await.unwrap();
    assert_eq!((entry.key.as_ref(), entry.value.as_ref(), entry.version), (&b"a"[..], &b""[..], put.version));
    assert_eq!(entry.generation, 1);
    let put = store.put(Put { prev_entry: true, ..Put::new("a", "2") }, call()).await.unwrap();
    assert_eq!(put.prev_entry.unwrap().version, entry.version);
    store.put(Put::new("b", "3"), call()).await.unwrap();
    let keys = vec!["b".into(), "x".into(), "a".into()];
    let many = store.get_many(GetMany { keys, consistency: Consistency::Lease }, call()).await.unwrap();
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let page = store.scan(Scan::new(KeyRange::all()), call()).await.unwrap();
    assert_eq!(page.entries.len(), 2);
    assert_eq!(store.count(Count::default(), call()).await.unwrap().count, 2);
    assert!(store.delete(Delete::new("a"), call()).await.unwrap().deleted);
    assert!(!store.delete(Delete::new("a"), call()).await.unwrap().deleted);
    let range = DeleteRange { range: KeyRange::all() };
    assert_eq!(store.delete_range(range, call()).await.unwrap().deleted, 1);
    assert_eq!(store.status(call()).await.unwrap().store, "memory");
    assert_eq!(store.stats().active_connections, 1);
    store.close().await.unwrap();
    assert_eq!(store.stats().active_connections, 0);
    assert_eq!(store.get(get("a"), call()).await.unwrap_err().kind(), ErrorKind::Closed);
    store.close().await.unwrap();
    server.shutdown(Duration::from_secs(1)).await.unwrap();
}
