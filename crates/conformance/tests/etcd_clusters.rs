//! Several real etcd clusters as one store: the whole model under one hash tag, and rules of its own for what is over all of them.
//!
//! Clusters have one member each, which is enough for what is here; with `NORIKV_LONG=1` they have three.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod clusters;

use clusters::tagged::Tagged;
use norikv_conformance::conformance;

conformance!(etcd_clusters, Tagged, [plain, full, seconds]);
