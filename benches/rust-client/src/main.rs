//! A plain tonic client that makes one unary call after the other on one connection.
//!
//! `rust-client <host:port>` says `{}` when it is connected, reads one measurement a line from stdin, as JSON, and
//! answers each with a line. It speaks as `lib/worker.mjs` does. `rust-client etcd <host:port>` does the same to an etcd.

mod etcd;

use std::{
    cell::{Cell, RefCell},
    io::BufRead as _,
    rc::Rc,
    time::{Duration, Instant},
};

use norikv_proto::v1;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc::UnboundedReceiver, task::LocalSet};
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

#[derive(Deserialize)]
struct Measure {
    op: Op,
    flight: usize,
    ms: u64,
    keys: usize,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Get,
    Put,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    per_second: f64,
    p50_us: f64,
}

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: rust-client [etcd] <host:port>";
    let first = args.next().ok_or(usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        if first == "etcd" {
            let address = args.next().ok_or(usage)?;
            let client = etcd_client::Client::connect([address], None).await?;
            return answer(async |what| etcd::measure(&client, what).await).await;
        }
        let channel = Endpoint::from_shared(format!("http://{first}"))?.tcp_nodelay(true).connect().await?;
        answer(async |what| measure(&channel, what).await).await
    })
}

/// Answers each line of stdin.
async fn answer(measure: impl AsyncFn(&Measure) -> Result<Measured, AnyError>) -> Result<(), AnyError> {
    println!("{{}}");
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let measured = measure(&serde_json::from_str(&line)?).await?;
        println!("{}", serde_json::to_string(&measured)?);
    }
    Ok(())
}

/// The lines of stdin, read on a thread of their own: the connection lives on between measurements.
fn lines() -> UnboundedReceiver<String> {
    let (to, lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

async fn measure(channel: &Channel, measure: &Measure) -> Result<Measured, AnyError> {
    let done = Rc::new(Cell::new(0_u32));
    let times = Rc::new(RefCell::new(Vec::new()));
    let start = Instant::now();
    let end = start + Duration::from_millis(measure.ms);
    let lanes: Vec<_> = (0..measure.flight)
        .map(|lane| {
            let (op, keys, timed) = (measure.op, measure.keys, measure.flight == 1);
            let (done, times, mut client) = (done.clone(), times.clone(), Grpc::new(channel.clone()));
            tokio::task::spawn_local(async move {
                let mut random = 0x9e37_79b9_u32.wrapping_mul(lane as u32 + 1);
                while Instant::now() < end {
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    let key = format!("key-{:07}", random as usize % keys);
                    let begin = Instant::now();
                    call(&mut client, op, key).await?;
                    if timed {
                        times.borrow_mut().push(begin.elapsed());
                    }
                    done.set(done.get() + 1);
                }
                Ok::<_, Status>(())
            })
        })
        .collect();
    for lane in lanes {
        lane.await??;
    }
    let mut times = times.take();
    times.sort_unstable();
    let p50 = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Measured {
        per_second: f64::from(done.get()) / start.elapsed().as_secs_f64(),
        p50_us: p50.as_secs_f64() * 1e6,
    })
}

async fn call(client: &mut Grpc<Channel>, op: Op, key: String) -> Result<(), Status> {
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    match op {
        Op::Get => {
            let get = v1::GetRequest { key: key.into(), consistency: String::new() };
            let codec = tonic_prost::ProstCodec::<_, v1::GetResponse>::default();
            client.unary(Request::new(get), PathAndQuery::from_static("/norikv.v1.Kv/Get"), codec).await?;
        }
        Op::Put => {
            let put =
                v1::PutRequest { key: key.into(), value: vec![b'w'; 100].into(), ..Default::default() };
            let codec = tonic_prost::ProstCodec::<_, v1::PutResponse>::default();
            client.unary(Request::new(put), PathAndQuery::from_static("/norikv.v1.Kv/Put"), codec).await?;
        }
    }
    Ok(())
}
