//! Deletes of one key.

use norikv_core::{Delete, ErrorKind, FieldName, Store};

use crate::{
    Check,
    ask::{delete, get, later, put, remove},
    refused,
};

/// A delete answers whether the key was there.
pub async fn a_delete_answers_whether_the_key_was_there(store: &dyn Store) -> Check {
    put(store, "k", "v").await?;
    assert!(delete(store, "k").await?.deleted);
    assert_eq!(get(store, "k").await?, None);
    assert!(!delete(store, "k").await?.deleted);
    assert!(!delete(store, "never").await?.deleted);
    Ok(())
}

/// A delete takes one key and not those beside it.
pub async fn a_delete_takes_one_key_and_not_those_beside_it(store: &dyn Store) -> Check {
    for key in ["k", "k\0", "kk", "j"] {
        put(store, key, "v").await?;
    }
    delete(store, "k").await?;
    for key in ["k\0", "kk", "j"] {
        assert!(get(store, key).await?.is_some(), "{key:?}");
    }
    Ok(())
}

/// With `ifMatchVersion`, a delete happens at the key's version and no other.
pub async fn a_delete_with_if_match_happens_at_the_keys_version_and_no_other(store: &dyn Store) -> Check {
    let first = put(store, "k", "1").await?;
    let second = put(store, "k", "2").await?;
    let at = |version| Delete { if_match: Some(version), ..Delete::new("k") };
    let error = refused(remove(store, at(first)).await, ErrorKind::VersionMismatch)?;
    assert_eq!(error.version(FieldName::Expected), Some(first));
    assert_eq!(error.version(FieldName::Actual), Some(second));
    assert!(get(store, "k").await?.is_some());
    let deleted = remove(store, at(second)).await?;
    assert_eq!((deleted.deleted, deleted.version), (true, later(second, 1)));
    Ok(())
}

/// With `ifMatchVersion`, a missing key is a mismatch.
pub async fn a_delete_with_if_match_of_a_missing_key_is_a_mismatch(store: &dyn Store) -> Check {
    let version = put(store, "other", "v").await?;
    let at = Delete { if_match: Some(version), ..Delete::new("k") };
    let error = refused(remove(store, at).await, ErrorKind::VersionMismatch)?;
    assert_eq!(error.version(FieldName::Actual), None);
    Ok(())
}
