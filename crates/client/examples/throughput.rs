//! Calls per second over one connection to a server in this process: batches, a server of `norikv.v1` alone,
//! and a plain tonic client that makes one unary call each, all in one run.
//!
//! `cargo run --release -p norikv-client --example throughput [seconds]`
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)] // a program for its output

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use norikv_client::{RemoteStore, Settings};
use norikv_core::{Call, Consistency, Get, Put, Store};
use norikv_embedded::EmbeddedStore;
use norikv_proto::v1;
use norikv_server::{Server, ServerSettings};
use tokio::task::LocalSet;
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

const KEYS: usize = 10_000;
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let length = Duration::from_secs_f64(seconds);
    let (plain, batched) = (serve(true), serve(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        println!("{:<24} {:>6} {:>12} {:>12}", "client", "flight", "gets/s", "puts/s");
        for flight in IN_FLIGHT {
            tonic_unary(batched, flight, length).await;
            store("norikv.v1 alone", plain, flight, length).await;
            store("batches", batched, flight, length).await;
        }
    });
}

/// A server on a thread of its own, as a server is.
fn serve(norikv_v1_only: bool) -> SocketAddr {
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let store = Arc::new(EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap());
            for n in 0..KEYS {
                store.put(Put::new(key(n), vec![b'v'; 100]), Call::default()).await.unwrap();
            }
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let settings = ServerSettings { listen, norikv_v1_only, ..ServerSettings::default() };
            let server = Server::start(store, settings).await.unwrap();
            tell.send(server.local_addr()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    address.recv().unwrap()
}

fn key(n: usize) -> String {
    format!("key-{:05}", n % KEYS)
}

/// Calls per second with so many callers, each making one call after the other.
async fn measure<F: Future<Output = ()>>(
    flight: usize,
    length: Duration,
    call: impl Fn(usize) -> F + Clone + 'static,
) -> f64 {
    let done = Rc::new(Cell::new(0_usize));
    let end = Instant::now() + length;
    let start = Instant::now();
    let callers: Vec<_> = (0..flight)
        .map(|caller| {
            let (done, call) = (Rc::clone(&done), call.clone());
            tokio::task::spawn_local(async move {
                let mut n = caller * 7_919;
                while Instant::now() < end {
                    call(n).await;
                    done.set(done.get() + 1);
                    n += 1;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    done.get() as f64 / start.elapsed().as_secs_f64()
}

fn print(name: &str, flight: usize, gets: f64, puts: f64) {
    println!("{name:<24} {flight:>6} {gets:>12.0} {puts:>12.0}");
}

async fn store(name: &str, address: SocketAddr, flight: usize, length: Duration) {
    let node = address.to_string().parse().unwrap();
    let store = Arc::new(RemoteStore::http2(Settings::for_nodes(vec![node])).unwrap());
    store.connect(Call::default()).await.unwrap();
    let reader = Arc::clone(&store);
    let gets = measure(flight, length, move |n| {
        let store = Arc::clone(&reader);
        async move {
            let get = Get { key: key(n).into(), consistency: Consistency::Lease };
            store.get(get, Call::default()).await.unwrap().unwrap();
        }
    })
    .await;
    let writer = Arc::clone(&store);
    let puts = measure(flight, length, move |n| {
        let store = Arc::clone(&writer);
        async move {
            store.put(Put::new(key(n), vec![b'w'; 100]), Call::default()).await.unwrap();
        }
    })
    .await;
    print(name, flight, gets, puts);
    store.close().await.unwrap();
}

async fn tonic_unary(address: SocketAddr, flight: usize, length: Duration) {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let reader = channel.clone();
    let gets = measure(flight, length, move |n| {
        let mut client = Grpc::new(reader.clone());
        async move {
            client.ready().await.unwrap();
            let request =
                tonic::Request::new(v1::GetRequest { key: key(n).into(), consistency: String::new() });
            let codec = tonic_prost::ProstCodec::<_, v1::GetResponse>::default();
            client.unary(request, PathAndQuery::from_static("/norikv.v1.Kv/Get"), codec).await.unwrap();
        }
    })
    .await;
    let puts = measure(flight, length, move |n| {
        let mut client = Grpc::new(channel.clone());
        async move {
            client.ready().await.unwrap();
            let put =
                v1::PutRequest { key: key(n).into(), value: vec![b'w'; 100].into(), ..Default::default() };
            let codec = tonic_prost::ProstCodec::<_, v1::PutResponse>::default();
            let path = PathAndQuery::from_static("/norikv.v1.Kv/Put");
            client.unary(tonic::Request::new(put), path, codec).await.unwrap();
        }
    })
    .await;
    print("tonic, unary", flight, gets, puts);
}
