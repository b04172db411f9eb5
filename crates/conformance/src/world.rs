use std::{any::Any, time::Duration};

use async_trait::async_trait;
use norikv_core::{Durability, MAX_KEY_BYTES, Result, StoreRef};

/// How a store is to be set up; what is left out is the store's own default.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The largest value.
    pub max_value_bytes: Option<usize>,
    /// How long a write with an idempotency key is remembered.
    pub idempotency_window: Option<Duration>,
    /// How many old revisions are kept at most.
    pub history_revisions: Option<u64>,
}

/// A way to have a store: what holds the data, and everything between that and the caller.
#[async_trait]
pub trait World: Send + Sync {
    /// Whether rules run on it: one that takes long may be left to the long runs.
    fn runs(&self) -> bool {
        true
    }

    /// A new store without a key.
    ///
    /// # Errors
    /// Whatever stands in the way.
    async fn open(&self, setup: Setup) -> Result<Fixture>;

    /// Ends the store and opens it again on the same data. Only a world that runs the group `disk` has to.
    ///
    /// # Errors
    /// Whatever stands in the way.
    async fn reopen(&self, fixture: Fixture) -> Result<Fixture>;
}

/// A store under test, and what goes with it.
pub struct Fixture {
    /// The store.
    pub store: StoreRef,
    /// What has to be closed for the store to be closed: itself, or the store that it is a part of.
    pub owner: StoreRef,
    /// The revision at which the store begins: 1, unless it is a part of one that has other keys.
    pub revision: u64,
    /// When it acknowledges a write.
    pub durability: Durability,
    /// The longest key it takes.
    pub max_key_bytes: usize,
    /// What else has to live as long as the store, and what `reopen` needs.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// A store that is nothing but itself.
    pub fn new(store: StoreRef, durability: Durability, keep: impl Any + Send + Sync) -> Self {
        Self {
            owner: StoreRef::clone(&store),
            store,
            revision: 1,
            durability,
            max_key_bytes: MAX_KEY_BYTES,
            keep: Box::new(keep),
        }
    }
}
