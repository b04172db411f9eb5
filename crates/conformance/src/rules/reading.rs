//! Reads of one key.

use norikv_core::{Consistency, Get, Store};

use crate::{
    Check,
    ask::{call, delete, get, put, within},
};

const ALL: [Consistency; 3] = [Consistency::Lease, Consistency::Linearizable, Consistency::StaleOk];

/// Every consistency sees a write that was acknowledged: these stores have no replica that could be old.
pub async fn every_consistency_sees_what_was_acknowledged(store: &dyn Store) -> Check {
    for n in 0..20 {
        put(store, "k", n.to_string()).await?;
        for consistency in ALL {
            let read = Get { key: "k".into(), consistency };
            let entry = within(call(), store.get(read, call())).await?.ok_or("the key is not there")?;
            assert_eq!(entry.value, n.to_string());
        }
        delete(store, "k").await?;
        for consistency in ALL {
            let read = Get { key: "k".into(), consistency };
            assert_eq!(within(call(), store.get(read, call())).await?, None);
        }
    }
    Ok(())
}

/// What a store answers at once is what it answers otherwise.
pub async fn what_is_answered_at_once_is_what_is_answered_otherwise(store: &dyn Store) -> Check {
    for n in 0..20 {
        put(store, "k", n.to_string()).await?;
        if let Some(now) = store.get_now(b"k", Consistency::Linearizable) {
            assert_eq!(now?, get(store, "k").await?);
        }
    }
    if let Some(now) = store.get_now(b"missing", Consistency::Linearizable) {
        assert_eq!(now?, None);
    }
    Ok(())
}
