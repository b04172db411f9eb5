//! The same measurements of an etcd, by the crate `etcd-client`.

use std::{cell::Cell, rc::Rc, time::Instant};

use etcd_client::{Client, KvClient};

use crate::{AnyError, Measure, Measured, Op};

/// `flight` callers that each make one call after the other.
pub(crate) async fn measure(client: &Client, measure: &Measure) -> Result<Measured, AnyError> {
    let done = Rc::new(Cell::new(0_u32));
    let start = Instant::now();
    let end = start + std::time::Duration::from_millis(measure.ms);
    let lanes: Vec<_> = (0..measure.flight)
        .map(|lane| {
            let (op, keys) = (measure.op, measure.keys);
            let (done, mut client) = (done.clone(), client.kv_client());
            tokio::task::spawn_local(async move {
                let mut random = 0x9e37_79b9_u32.wrapping_mul(lane as u32 + 1);
                while Instant::now() < end {
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    let key = format!("key-{:07}", random as usize % keys);
                    call(&mut client, op, key).await?;
                    done.set(done.get() + 1);
                }
                Ok::<_, etcd_client::Error>(())
            })
        })
        .collect();
    for lane in lanes {
        lane.await??;
    }
    Ok(Measured { per_second: f64::from(done.get()) / start.elapsed().as_secs_f64(), p50_us: 0.0 })
}

async fn call(client: &mut KvClient, op: Op, key: String) -> Result<(), etcd_client::Error> {
    match op {
        Op::Get => client.get(key, None).await.map(|_| ()),
        Op::Put => client.put(key, vec![b'w'; 100], None).await.map(|_| ()),
    }
}
