//! Keys and values.

use bytes::Bytes;
use norikv_core::{DEFAULT_MAX_VALUE_BYTES, Delete, ErrorKind, Put, Store};

use crate::{
    Check, Setup, World,
    ask::{get, later, of, put, remove, value, within, write},
    call, refused,
};

/// The shortest and the longest key are keys.
pub async fn the_shortest_and_the_longest_key_are_keys(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    for length in [1, fixture.max_key_bytes] {
        let key = Bytes::from(vec![b'k'; length]);
        put(store, key.clone(), "v").await?;
        assert_eq!(get(store, key.clone()).await?.map(|entry| entry.key), Some(key));
    }
    let long = Bytes::from(vec![b'k'; fixture.max_key_bytes + 1]);
    refused(put(store, long.clone(), "v").await, ErrorKind::InvalidArgument)?;
    refused(get(store, long).await, ErrorKind::InvalidArgument)?;
    Ok(fixture.owner.close().await?)
}

/// An empty key and one of 1,025 bytes are refused and change nothing.
pub async fn an_empty_key_and_one_of_1025_bytes_are_refused_and_change_nothing(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    for key in [Bytes::new(), Bytes::from(vec![b'k'; 1_025])] {
        refused(put(store, key.clone(), "v").await, ErrorKind::InvalidArgument)?;
        refused(remove(store, Delete::new(key.clone())).await, ErrorKind::InvalidArgument)?;
        refused(within(call(), store.get(of(key.clone()), call())).await, ErrorKind::InvalidArgument)?;
        if let Some(answer) = store.get_now(&key, Default::default()) {
            refused(answer, ErrorKind::InvalidArgument)?;
        }
    }
    assert_eq!(put(store, "k", "w").await?, later(before, 1));
    Ok(())
}

/// A key is any bytes, and no two are the same.
pub async fn a_key_is_any_bytes_and_no_two_are_the_same(store: &dyn Store) -> Check {
    let keys: [&[u8]; 9] =
        [b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0b", b"\xff", b"\xff\xff", "sch\u{f6}n".as_bytes()];
    for key in keys {
        put(store, key, key).await?;
    }
    for key in keys {
        assert_eq!(value(store, key).await?.as_deref(), Some(key));
    }
    Ok(())
}

/// A value is any bytes, and an empty one is a value.
pub async fn a_value_is_any_bytes_and_an_empty_one_is_a_value(store: &dyn Store) -> Check {
    let all: Bytes = (0..=u8::MAX).collect();
    for value_of in [all, Bytes::new(), Bytes::from_static(b"\0")] {
        put(store, "k", value_of.clone()).await?;
        assert_eq!(value(store, "k").await?, Some(value_of));
    }
    put(store, "empty", "").await?;
    assert_eq!(value(store, "empty").await?, Some(Bytes::new()));
    assert_eq!(get(store, "missing").await?, None);
    Ok(())
}

/// A value of 1 MiB is taken; one byte more is refused, naming both sizes, and changes nothing.
pub async fn a_value_of_1_mib_is_taken_and_a_larger_one_refused_naming_both_sizes(
    store: &dyn Store,
) -> Check {
    let largest = Bytes::from(vec![7; DEFAULT_MAX_VALUE_BYTES]);
    let before = put(store, "k", largest.clone()).await?;
    let larger = Bytes::from(vec![7; DEFAULT_MAX_VALUE_BYTES + 1]);
    let error = refused(put(store, "k", larger).await, ErrorKind::InvalidArgument)?;
    for size in ["1048577", "1048576"] {
        assert!(error.message().contains(size), "{error}");
    }
    assert_eq!(value(store, "k").await?, Some(largest));
    assert_eq!(put(store, "k", "v").await?, later(before, 1));
    // A value so large that it may never be read is refused just the same.
    refused(put(store, "k", vec![7; 8 << 20]).await, ErrorKind::InvalidArgument)?;
    assert_eq!(put(store, "k", "w").await?, later(before, 2));
    Ok(())
}

/// The largest value is a setting.
pub async fn the_largest_value_is_a_setting(world: &dyn World) -> Check {
    let setup = Setup { max_value_bytes: Some(1_000), ..Setup::default() };
    let fixture = world.open(setup).await?;
    let store = &*fixture.store;
    put(store, "k", vec![b'v'; 1_000]).await?;
    let error = refused(put(store, "k", vec![b'v'; 1_001]).await, ErrorKind::InvalidArgument)?;
    assert!(error.message().contains("1001") && error.message().contains("1000"), "{error}");
    Ok(fixture.owner.close().await?)
}

/// An idempotency key that is empty or longer than 1,024 bytes is refused and changes nothing.
pub async fn a_wrong_idempotency_key_is_refused_and_changes_nothing(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    for key in [String::new(), "i".repeat(1_025)] {
        let with_key = Put { idempotency_key: Some(key.clone()), ..Put::new("k", "w") };
        refused(write(store, with_key).await, ErrorKind::InvalidArgument)?;
        let with_key = Delete { idempotency_key: Some(key), ..Delete::new("k") };
        refused(remove(store, with_key).await, ErrorKind::InvalidArgument)?;
    }
    let longest = Put { idempotency_key: Some("i".repeat(1_024)), ..Put::new("k", "w") };
    assert_eq!(write(store, longest).await?, later(before, 1));
    Ok(())
}
