//! Many keys at once.

use std::cell::Cell;

use bytes::Bytes;
use norikv_core::{DeleteRange, ErrorKind, KeyRange, Store};

use crate::{
    Check,
    ask::{call, delete, get_many, put, within},
    refused,
};

/// The answer of `getMany` is in the order of its keys, also of those that are missing or stand twice.
pub async fn get_many_answers_in_the_order_of_its_keys(store: &dyn Store) -> Check {
    for key in ["a", "b", "c"] {
        put(store, key, key).await?;
    }
    delete(store, "b").await?;
    let keys: Vec<Bytes> = ["c", "b", "a", "c", "z"].map(Bytes::from).into();
    let values: Vec<_> =
        get_many(store, keys).await?.into_iter().map(|entry| entry.map(|entry| entry.value)).collect();
    assert_eq!(values, [Some("c".into()), None, Some("a".into()), Some("c".into()), None]);
    assert_eq!(get_many(store, Vec::new()).await?, []);
    Ok(())
}

/// One wrong key refuses the whole `getMany`.
pub async fn one_wrong_key_refuses_the_whole_get_many(store: &dyn Store) -> Check {
    for wrong in [Bytes::new(), Bytes::from(vec![0; 1_025])] {
        refused(get_many(store, vec!["a".into(), wrong]).await, ErrorKind::InvalidArgument)?;
    }
    Ok(())
}

/// `getMany` reads from one snapshot: it never sees a later write without an earlier one.
pub async fn get_many_reads_from_one_snapshot(store: &dyn Store) -> Check {
    let done = Cell::new(false);
    let write = async {
        for n in 1..=100_u64 {
            put(store, "first", n.to_string()).await?;
            put(store, "second", n.to_string()).await?;
            if n % 10 == 0 {
                let range = KeyRange::all();
                within(call(), store.delete_range(DeleteRange { range }, call())).await?;
            }
        }
        done.set(true);
        Ok(())
    };
    let read = async {
        while !done.get() {
            // A read that is answered at once would never let the writes go on.
            tokio::task::yield_now().await;
            for keys in [["first", "second"], ["second", "first"]] {
                let mut entries = get_many(store, keys.map(Bytes::from).into()).await?;
                if keys[0] == "second" {
                    entries.reverse();
                }
                let [first, second] = &entries[..] else { return Err("not two entries".into()) };
                match (first, second) {
                    (Some(first), Some(second)) => {
                        let ahead = (number(&first.value), number(&second.value));
                        assert!(ahead.0 == ahead.1 || ahead.0 == ahead.1 + 1, "{ahead:?}");
                    }
                    (None, Some(second)) => {
                        return Err(crate::Failure::from(norikv_core::Error::internal(format!(
                            "{second:?} without the write before it"
                        ))));
                    }
                    // Only begun, or deleted both.
                    (_, None) => {}
                }
            }
        }
        Ok(())
    };
    let (write, read): (Check, Check) = tokio::join!(write, read);
    write.and(read)
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}
