//! A server that the system gives no more: no disk, no descriptors, no further connection.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // they are tests

mod command;
mod worlds;

use std::{
    io::{ErrorKind as Io, Read},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use command::{Norikv, file};
use norikv_conformance::{get, put};
use norikv_core::{ErrorKind, StoreRef};
use tokio::time::sleep;
use worlds::remote;

const SOON: Duration = Duration::from_secs(30);

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    // Without the trap, the system would end the process instead of failing the write.
    let mut norikv = Norikv::try_serve_within("trap '' XFSZ;", &store, &[]).unwrap();
    let client = remote(norikv.address()).unwrap();
    put(&*client, "first", "v").await.unwrap();
    norikv.limit_files_to(4 * 1024 * 1024);
    let mut acknowledged = Vec::new();
    let error = loop {
        assert!(acknowledged.len() < 1_000, "the disk is never full");
        let key = format!("k{}", acknowledged.len());
        // What does not compress.
        let value: Vec<u8> = (0..100_000).map(|_| fastrand::u8(..)).collect();
        match put(&*client, key.clone(), value.clone()).await {
            Ok(version) => acknowledged.push((key, value, version)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    // The rest can still be read, and further writes are refused just as clearly.
    for (key, value, version) in &acknowledged {
        let entry = get(&*client, key.clone()).await.unwrap().unwrap();
        assert!(entry.value == *value && entry.version == *version, "{key}");
    }
    let error = put(&*client, "more", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    assert!(norikv.runs());
    client.close().await.unwrap();
    norikv.kill();

    // With room again, everything that was acknowledged is there, and it goes on.
    let norikv = Norikv::serve(&store, &[]);
    let client = remote(norikv.address()).unwrap();
    for (key, value, version) in &acknowledged {
        let entry = get(&*client, key.clone()).await.unwrap().unwrap();
        assert!(entry.value == *value && entry.version == *version, "{key}");
    }
    put(&*client, "more", "v").await.unwrap();
    client.close().await.unwrap();
    assert_eq!(norikv.terminate(), Some(0));
}

/// Opens many connections that say nothing, and answers how many of them are closed at once.
fn crowd(address: SocketAddr, count: usize) -> (Vec<TcpStream>, usize) {
    let crowd: Vec<TcpStream> = (0..count).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let refused = crowd.iter().filter(|stream| {
        let mut stream = *stream;
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        !stream.read(&mut [0; 64]).is_err_and(|error| error.kind() == Io::WouldBlock)
    });
    let refused = refused.count();
    (crowd, refused)
}

/// A new client is served, sooner or later.
async fn is_served(address: SocketAddr) -> StoreRef {
    let begun = Instant::now();
    loop {
        let client = remote(address).unwrap();
        match put(&*client, "served", "v").await {
            Ok(_) => return client,
            Err(error) => assert!(error.retryable() && begun.elapsed() < SOON, "{error:?}"),
        }
        client.close().await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
}

async fn refuses_and_goes_on(mut norikv: Norikv, count: usize) {
    let address = norikv.address();
    let client = is_served(address).await;
    let (crowd, refused) = crowd(address, count);
    assert!(refused > 0, "all {count} were taken");
    // Whoever is served already does not notice.
    for n in 0..20 {
        put(&*client, "k", n.to_string()).await.unwrap();
        assert_eq!(get(&*client, "k").await.unwrap().unwrap().value, n.to_string());
    }
    // Nor does the store, which needs descriptors of its own as it grows.
    let value = bytes::Bytes::from(vec![7; 1_000_000]);
    for part in 0..8 {
        let puts = (0..10).map(|n| put(&*client, format!("{part} {n}"), value.clone()));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
    }
    assert!(norikv.runs());
    drop(crowd);
    is_served(address).await.close().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(norikv.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_descriptors_further_clients_are_refused_and_it_works_again_after() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    let norikv = Norikv::try_serve_within("ulimit -n 64;", &store, &[]).unwrap();
    refuses_and_goes_on(norikv, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_most_connections_further_clients_are_refused_and_it_works_again_after() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    refuses_and_goes_on(Norikv::serve(&store, &["--max-connections", "8"]), 50).await;
}
