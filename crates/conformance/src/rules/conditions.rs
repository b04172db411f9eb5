//! Conditional writes.

use bytes::Bytes;
use norikv_core::{Delete, Error, ErrorKind, Field, FieldName, Precondition, Put, Store, Version};

use crate::{
    Check,
    ask::{delete, get, later, put, remove, value, write},
    refused,
};

fn only_if(version: Version, value: &'static str) -> Put {
    Put { precondition: Precondition::Version(version), ..Put::new("k", value) }
}

fn if_missing(value: &'static str) -> Put {
    Put { precondition: Precondition::NotExists, ..Put::new("k", value) }
}

/// The key, the expected and the actual version that an error names.
fn named(error: &Error) -> (Option<Bytes>, Option<Version>, Option<Version>) {
    let key = match error.field(FieldName::Key) {
        Some(Field::Bytes(key)) => Some(key.clone()),
        _ => None,
    };
    (key, error.version(FieldName::Expected), error.version(FieldName::Actual))
}

/// `ifMatchVersion` writes at the key's version and no other.
pub async fn if_match_version_writes_at_the_keys_version_and_no_other(store: &dyn Store) -> Check {
    let first = put(store, "k", "1").await?;
    let second = write(store, only_if(first, "2")).await?;
    assert_eq!(second, later(first, 1));
    let error = refused(write(store, only_if(first, "3")).await, ErrorKind::VersionMismatch)?;
    assert_eq!(named(&error), (Some("k".into()), Some(first), Some(second)));
    assert_eq!(value(store, "k").await?, Some("2".into()));
    // The version of another key is not this key's, though it is the store's.
    let other = put(store, "other", "v").await?;
    refused(write(store, only_if(other, "3")).await, ErrorKind::VersionMismatch)?;
    Ok(())
}

/// `ifMatchVersion` on a missing key is a mismatch without an actual version.
pub async fn if_match_version_on_a_missing_key_is_a_mismatch_without_an_actual_version(
    store: &dyn Store,
) -> Check {
    let version = put(store, "other", "v").await?;
    let error = refused(write(store, only_if(version, "1")).await, ErrorKind::VersionMismatch)?;
    assert_eq!(named(&error), (Some("k".into()), Some(version), None));
    assert_eq!(get(store, "k").await?, None);
    Ok(())
}

/// A version from before a delete does not match what was created since.
pub async fn a_version_from_before_a_delete_does_not_match_what_was_created_since(
    store: &dyn Store,
) -> Check {
    let before = put(store, "k", "1").await?;
    delete(store, "k").await?;
    refused(write(store, only_if(before, "2")).await, ErrorKind::VersionMismatch)?;
    put(store, "k", "1").await?;
    refused(write(store, only_if(before, "2")).await, ErrorKind::VersionMismatch)?;
    Ok(())
}

/// A version of another term never matches.
pub async fn a_version_of_another_term_never_matches(store: &dyn Store) -> Check {
    let version = put(store, "k", "1").await?;
    for term in [version.term - 1, version.term + 1, u64::MAX] {
        let other = Version::new(term, version.index);
        refused(write(store, only_if(other, "2")).await, ErrorKind::VersionMismatch)?;
    }
    assert_eq!(value(store, "k").await?, Some("1".into()));
    Ok(())
}

/// `0.0` is no version of any key, and is refused, whether the key is there or not.
pub async fn the_version_0_0_is_refused(store: &dyn Store) -> Check {
    let delete = || Delete { if_match: Some(Version::ZERO), ..Delete::new("k") };
    refused(write(store, only_if(Version::ZERO, "1")).await, ErrorKind::InvalidArgument)?;
    refused(remove(store, delete()).await, ErrorKind::InvalidArgument)?;
    assert_eq!(get(store, "k").await?, None);
    put(store, "k", "1").await?;
    refused(write(store, only_if(Version::ZERO, "2")).await, ErrorKind::InvalidArgument)?;
    refused(remove(store, delete()).await, ErrorKind::InvalidArgument)?;
    assert_eq!(value(store, "k").await?, Some("1".into()));
    Ok(())
}

/// `ifNotExists` writes only if the key is missing, and names the version of one that is not.
pub async fn if_not_exists_writes_only_if_the_key_is_missing(store: &dyn Store) -> Check {
    let version = write(store, if_missing("1")).await?;
    let error = refused(write(store, if_missing("2")).await, ErrorKind::AlreadyExists)?;
    assert_eq!(named(&error), (Some("k".into()), None, Some(version)));
    assert_eq!(value(store, "k").await?, Some("1".into()));
    delete(store, "k").await?;
    write(store, if_missing("3")).await?;
    assert_eq!(value(store, "k").await?, Some("3".into()));
    Ok(())
}

/// A key with an empty value is there.
pub async fn a_key_with_an_empty_value_is_there(store: &dyn Store) -> Check {
    let version = write(store, if_missing("")).await?;
    refused(write(store, if_missing("1")).await, ErrorKind::AlreadyExists)?;
    write(store, only_if(version, "2")).await?;
    Ok(())
}

/// Of callers at the same time, one wins.
pub async fn of_conditional_writes_at_the_same_time_one_wins(store: &dyn Store) -> Check {
    let version = put(store, "k", "0").await?;
    let writes = (0..50).map(|n| {
        let precondition = Precondition::Version(version);
        write(store, Put { precondition, ..Put::new("k", n.to_string()) })
    });
    let mut won = Vec::new();
    for (n, result) in futures_util::future::join_all(writes).await.into_iter().enumerate() {
        match result {
            Ok(version) => won.push((n, version)),
            refusal => drop(refused(refusal, ErrorKind::VersionMismatch)?),
        }
    }
    let [(winner, won)] = *won else { return Err("not one writer won".into()) };
    let entry = get(store, "k").await?.ok_or("the key is gone")?;
    assert_eq!((entry.value, entry.version), (winner.to_string().into(), won));
    assert_eq!(won, later(version, 1));
    Ok(())
}
