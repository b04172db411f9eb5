//! What a server of `norikv.v1` alone cannot do, and has to refuse before anything is written.

use norikv_core::{
    DeleteRange, Entry, Error, ErrorKind, FieldName, KeyRange, LeaseId, Precondition, Put, Scan, Store, Txn,
    Version, Watch,
};

use crate::{
    Check,
    ask::{
        call, compact, count, delete, get, get_many, grant, keep_alive, later, leases, page, put, revoke,
        time_to_live, to_get, to_put, txn, with_lease, within, write,
    },
    refused, refused_watch,
};

#[track_caller]
fn unsupported<T: std::fmt::Debug>(result: norikv_core::Result<T>) -> Check<Error> {
    let error = refused(result, ErrorKind::Unsupported)?;
    assert!(error.field(FieldName::Address).is_some(), "{error:?} does not name the server");
    Ok(error)
}

/// What needs the extension is refused by the server's name, and changes nothing.
pub async fn what_needs_the_extension_is_refused_and_changes_nothing(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    unsupported(within(call(), store.put(Put { prev_entry: true, ..Put::new("k", "w") }, call())).await)?;
    let range = KeyRange::all();
    unsupported(within(call(), store.delete_range(DeleteRange { range }, call())).await)?;
    unsupported(get_many(store, vec!["k".into()]).await)?;
    unsupported(page(store, Scan::new(KeyRange::all())).await)?;
    unsupported(count(store, KeyRange::all(), None).await)?;
    unsupported(count(store, KeyRange::all(), Some(before)).await)?;
    unsupported(within(call(), store.status(call())).await)?;
    let id = LeaseId::new(7).ok_or("0 is no lease")?;
    unsupported(write(store, with_lease("k", "w", id)).await)?;
    unsupported(txn(store, Txn { then: vec![to_put("k", "w")], ..Txn::default() }).await)?;
    unsupported(txn(store, Txn { then: vec![to_get("k")], ..Txn::default() }).await)?;
    unsupported(grant(store, 60_000).await)?;
    unsupported(keep_alive(store, vec![id]).await)?;
    unsupported(revoke(store, id).await)?;
    unsupported(time_to_live(store, id).await)?;
    unsupported(leases(store).await)?;
    unsupported(compact(store, before).await)?;
    let watch = Watch::new(KeyRange::all());
    let error = refused_watch(store, watch, ErrorKind::Unsupported).await?;
    unsupported(Err::<(), _>(error))?;
    assert_eq!(put(store, "k", "w").await?, later(before, 1));
    Ok(())
}

/// The same holds for the very first call.
pub async fn the_first_call_is_refused_as_well(store: &dyn Store) -> Check {
    let asking = Put { prev_entry: true, ..Put::new("k", "w") };
    unsupported(within(call(), store.put(asking, call())).await)?;
    assert_eq!(get(store, "k").await?, None);
    Ok(())
}

/// An entry has its value and its version, and nothing is made up for the rest.
pub async fn an_entry_has_its_value_and_version_and_nothing_is_made_up(store: &dyn Store) -> Check {
    put(store, "k", "1").await?;
    let version = put(store, "k", "2").await?;
    let expected = Entry {
        key: "k".into(),
        value: "2".into(),
        version,
        create_version: version,
        generation: 0,
        lease: None,
        expires_at: None,
    };
    assert_eq!(get(store, "k").await?, Some(expected));
    assert!(version > Version::ZERO);
    Ok(())
}

/// Counting by compare-and-set, creating and deleting by condition work without the extension.
pub async fn conditions_work_without_the_extension(store: &dyn Store) -> Check {
    let create = Put { precondition: Precondition::NotExists, ..Put::new("k", "0") };
    let mut version = write(store, create.clone()).await?;
    for n in 1..=20 {
        let precondition = Precondition::Version(version);
        version = write(store, Put { precondition, ..Put::new("k", n.to_string()) }).await?;
    }
    refused(write(store, create).await, ErrorKind::AlreadyExists)?;
    assert!(delete(store, "k").await?.deleted);
    Ok(())
}
