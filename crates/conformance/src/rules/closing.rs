//! The end of a store.

use std::time::Duration;

use norikv_core::{Delete, Error, ErrorKind, KeyRange, LeaseId, Put, Txn, Watch};
use tokio::time::timeout;

use crate::{
    Check, Setup, World,
    ask::{
        call, compact, get, grant, keep_alive, leases, of, put, revoke, time_to_live, to_get, to_put, txn,
    },
    refused, refused_watch,
};

/// A closed store says so, and closing twice is closing once.
pub async fn a_closed_store_says_so_and_closing_twice_is_closing_once(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    put(store, "k", "v").await?;
    fixture.owner.close().await?;
    refused(get(store, "k").await, ErrorKind::Closed)?;
    refused(get(store, "other").await, ErrorKind::Closed)?;
    refused(put(store, "k", "w").await, ErrorKind::Closed)?;
    refused(store.delete(Delete::new("k"), call()).await, ErrorKind::Closed)?;
    if let Some(answer) = store.get_now(b"k", Default::default()) {
        refused(answer, ErrorKind::Closed)?;
    }
    Ok(fixture.owner.close().await?)
}

/// Every call of a closed store says so.
pub async fn every_call_of_a_closed_store_says_so(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    fixture.owner.close().await?;
    refused(crate::ask::get_many(store, vec!["k".into()]).await, ErrorKind::Closed)?;
    refused(crate::ask::page(store, Default::default()).await, ErrorKind::Closed)?;
    refused(crate::ask::count(store, Default::default(), None).await, ErrorKind::Closed)?;
    refused(crate::ask::newest(store).await, ErrorKind::Closed)?;
    let range = KeyRange::all();
    refused(store.delete_range(norikv_core::DeleteRange { range }, call()).await, ErrorKind::Closed)?;
    refused(txn(store, Txn { then: vec![to_put("k", "v")], ..Txn::default() }).await, ErrorKind::Closed)?;
    refused(txn(store, Txn { then: vec![to_get("k")], ..Txn::default() }).await, ErrorKind::Closed)?;
    let id = LeaseId::new(1).ok_or("0 is no lease")?;
    refused(grant(store, 60_000).await, ErrorKind::Closed)?;
    refused(keep_alive(store, vec![id]).await, ErrorKind::Closed)?;
    refused(revoke(store, id).await, ErrorKind::Closed)?;
    refused(time_to_live(store, id).await, ErrorKind::Closed)?;
    refused(leases(store).await, ErrorKind::Closed)?;
    refused(compact(store, norikv_core::Version::new(1, 1)).await, ErrorKind::Closed)?;
    refused_watch(store, Watch::new(KeyRange::all()), ErrorKind::Closed).await?;
    Ok(())
}

/// Calls under way when a store closes are answered, or fail because it closed; none is left waiting.
pub async fn calls_under_way_end_when_the_store_closes(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    put(store, "k", "v").await?;
    let writes =
        futures_util::future::join_all((0..500).map(|n| store.put(Put::new(format!("k{n}"), "v"), call())));
    let reads = futures_util::future::join_all((0..500).map(|_| store.get(of("k"), call())));
    let close = async {
        tokio::task::yield_now().await;
        fixture.owner.close().await
    };
    let all = async { tokio::join!(writes, reads, close) };
    let Ok((writes, reads, close)) = timeout(Duration::from_secs(10), all).await else {
        return Err("a call is left waiting".into());
    };
    close?;
    for result in writes {
        answered_or_closed(result)?;
    }
    for result in reads {
        answered_or_closed(result)?;
    }
    Ok(())
}

fn answered_or_closed<T>(result: Result<T, Error>) -> Check {
    match result {
        Err(error) if error.kind() != ErrorKind::Closed => Err(error.into()),
        _ => Ok(()),
    }
}
