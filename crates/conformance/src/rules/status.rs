//! What a store says of itself.

use norikv_core::{Feature, Store, Version};

use crate::{
    Check, Setup, World,
    ask::{call, newest, put, within},
};

/// The status says when a write is acknowledged.
pub async fn the_status_says_when_a_write_is_acknowledged(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let status = within(call(), fixture.store.status(call())).await?;
    assert_eq!(status.durability, fixture.durability);
    Ok(fixture.owner.close().await?)
}

/// The status tells the newest version.
pub async fn the_status_tells_the_newest_version(store: &dyn Store) -> Check {
    for n in 0..5 {
        let version = put(store, "k", n.to_string()).await?;
        assert_eq!(newest(store).await?, version);
    }
    Ok(())
}

/// The status tells the limits.
pub async fn the_status_tells_the_limits(world: &dyn World) -> Check {
    let setup = Setup { max_value_bytes: Some(5_000), ..Setup::default() };
    let fixture = world.open(setup).await?;
    let limits = within(call(), fixture.store.status(call())).await?.limits;
    assert_eq!(limits.max_value_bytes, 5_000);
    assert_eq!(limits.max_key_bytes, fixture.max_key_bytes);
    assert!(limits.max_batch_ops > 0 && limits.max_page_entries > 0);
    Ok(fixture.owner.close().await?)
}

/// A store of the whole model says that it has its features.
pub async fn the_status_names_the_features(store: &dyn Store) -> Check {
    let status = within(call(), store.status(call())).await?;
    for feature in [
        Feature::Range,
        Feature::DeleteRange,
        Feature::IfNotExists,
        Feature::History,
        Feature::Txn,
        Feature::Lease,
        Feature::Watch,
        Feature::Compact,
    ] {
        assert!(status.has(feature), "{feature:?} is not in {:?}", status.features);
    }
    assert!(!status.store.is_empty() && !status.software.is_empty());
    assert!(status.sizes.compact_version <= status.version);
    assert!(status.version > Version::ZERO);
    Ok(())
}
