//! What a store knows about an entry.

use norikv_core::{Entry, KeyRange, Precondition, Put, Scan, Store, Version};

use crate::{
    Check,
    ask::{self, call, delete, get, get_many, put, within, write},
};

async fn entry(store: &dyn Store, key: &'static str) -> Check<Entry> {
    Ok(get(store, key).await?.ok_or("the key is not there")?)
}

/// An entry has the versions of its last change and of its creation, and the number of puts since.
pub async fn an_entry_has_its_versions_and_the_number_of_puts_since_its_creation(store: &dyn Store) -> Check {
    let fields = |entry: Entry| (entry.version, entry.create_version, entry.generation);
    let first = put(store, "k", "1").await?;
    put(store, "other", "v").await?;
    assert_eq!(fields(entry(store, "k").await?), (first, first, 1));
    put(store, "k", "1").await?;
    let precondition = Precondition::Version(entry(store, "k").await?.version);
    let third = write(store, Put { precondition, ..Put::new("k", "3") }).await?;
    assert_eq!(fields(entry(store, "k").await?), (third, first, 3));
    delete(store, "k").await?;
    let again = write(store, Put { precondition: Precondition::NotExists, ..Put::new("k", "1") }).await?;
    assert_eq!(fields(entry(store, "k").await?), (again, again, 1));
    Ok(())
}

/// An entry without a lease and a time to live has neither.
pub async fn an_entry_without_a_lease_and_a_ttl_has_neither(store: &dyn Store) -> Check {
    put(store, "k", "v").await?;
    let entry = entry(store, "k").await?;
    assert_eq!((entry.lease, entry.expires_at), (None, None));
    Ok(())
}

/// Get, getMany and scan tell the same of an entry.
pub async fn get_get_many_and_scan_tell_the_same(store: &dyn Store) -> Check {
    let ttl = norikv_core::Ttl::from_millis(60_000)?;
    put(store, "k", "1").await?;
    write(store, Put { ttl: Some(ttl), ..Put::new("k", "2") }).await?;
    let entry = entry(store, "k").await?;
    assert_eq!((entry.key.as_ref(), entry.value.as_ref()), (&b"k"[..], &b"2"[..]));
    assert!(entry.expires_at.is_some());
    assert_eq!(get_many(store, vec!["k".into()]).await?, [Some(entry.clone())]);
    assert_eq!(ask::scan(store, Scan::new(KeyRange::all())).await?.0, std::slice::from_ref(&entry));
    if let Some(now) = store.get_now(b"k", Default::default()) {
        assert_eq!(now?, Some(entry));
    }
    Ok(())
}

/// A put with `prevEntry` answers the entry before it.
pub async fn a_put_with_prev_entry_answers_the_entry_before_it(store: &dyn Store) -> Check {
    let asking = |value: &'static str| Put { prev_entry: true, ..Put::new("k", value) };
    let none = within(call(), store.put(asking("1"), call())).await?;
    assert_eq!(none.prev_entry, None);
    let before = entry(store, "k").await?;
    let some = within(call(), store.put(asking("2"), call())).await?;
    assert_eq!(some.prev_entry, Some(before));
    let unasked = within(call(), store.put(Put::new("k", "3"), call())).await?;
    assert_eq!(unasked.prev_entry, None);
    delete(store, "k").await?;
    assert_eq!(within(call(), store.put(asking("4"), call())).await?.prev_entry, None);
    Ok(())
}

/// All versions of one store are of one term.
pub async fn all_versions_of_a_store_are_of_one_term(store: &dyn Store) -> Check {
    let version = put(store, "k", "v").await?;
    assert_eq!(version.term, 1);
    let deleted = delete(store, "k").await?;
    assert_eq!(deleted.version, Version::new(1, version.index + 1));
    assert_eq!(ask::newest(store).await?, deleted.version);
    Ok(())
}
