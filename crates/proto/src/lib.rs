//! The wire: the types of `proto/`, and their translation to and from the model's, each written once.

mod convert;
mod failure;
mod txn;
mod vector;
mod watch;

// The generated files name each other by the path that their packages have.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod norikv {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/norikv.v1.rs"));
    }
    pub mod ext {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/norikv.ext.v1.rs"));
        }
    }
}

/// What the protocol lacks: `norikv.ext.v1`.
pub use norikv::ext::v1 as ext;
/// The NoriKV protocol: `norikv.v1`.
pub use norikv::v1;

pub use convert::{
    consistency_from_wire, consistency_to_wire, entry_from_wire, entry_to_wire, precondition_from_wire,
    precondition_to_wire, range_from_wire, status_from_wire, status_to_wire,
};
pub use failure::{ERROR_DOMAIN, GrpcCode, failure_from_error, failure_to_error};
pub use txn::{
    delete_from_wire, delete_range_from_wire, delete_to_wire, put_from_wire, put_to_wire, scan_from_wire,
    scan_to_wire, txn_from_wire, txn_result_from_wire, txn_result_to_wire, txn_to_wire,
};
pub use vector::{
    vector_create_index_from_ext, vector_create_index_from_v1, vector_create_index_to_ext,
    vector_create_index_to_v1, vector_delete_from_wire, vector_delete_to_wire, vector_drop_index_from_wire,
    vector_drop_index_to_wire, vector_get_from_wire, vector_get_to_wire, vector_info_from_wire,
    vector_info_to_wire, vector_insert_from_ext, vector_insert_from_v1, vector_insert_to_ext,
    vector_insert_to_v1, vector_search_from_ext, vector_search_from_v1, vector_search_to_ext,
    vector_search_to_v1,
};
pub use watch::{
    batch_from_wire, batch_to_wire, event_from_wire, event_to_wire, watch_from_wire, watch_to_wire,
};
