//! What a server of `norikv.v1` alone cannot do, and has to refuse before anything is written.

use norikv_core::{
    DeleteRange, Entry, Error, ErrorKind, FieldName, KeyRange, Precondition, Put, Scan, Store, Version,
};

use crate::{
    Check,
    ask::{call, count, delete, get, get_many, later, page, put, within, write},
    refused,
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
