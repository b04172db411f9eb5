//! What goes back to JavaScript: for each call its number, a tag, and what the tag says.
//!
//! `src/reply.ts` is the other side of this file.

use std::time::Duration;

use bytes::BufMut;
use norikv_core::{
    ClusterView, Entry, Error, EventKind, EventReason, Field, LeaseStatus, Page, Stats, Status, WatchBatch,
};

use crate::frame::Writer;

/// Stands for the number of a call where an error is that of every call: JavaScript and the core did not
/// understand each other, and the session is over.
pub const EVERY_CALL: u32 = u32::MAX;

/// Stands for the number of a call where batches are those of several watches, whose numbers follow.
pub const SOME_WATCHES: u32 = u32::MAX - 1;

/// Nothing more to say than that it is done.
pub const DONE: u8 = 0;
/// An error: kind, message, fields, and its cause if it has one.
pub const ERROR: u8 = 1;
/// The entry that was asked for; its key is known to the caller.
pub const ENTRY: u8 = 2;
/// The key is not there.
pub const MISSING: u8 = 3;
/// The version of a write.
pub const VERSION: u8 = 4;
/// The version of a write and the entry before it, or that there was none.
pub const VERSION_AND_ENTRY: u8 = 5;
/// True or false.
pub const BOOLEAN: u8 = 6;
/// A number below 2^53.
pub const NUMBER: u8 = 7;
/// For each key that was asked for, the entry or that it is missing.
pub const ENTRIES: u8 = 8;
/// A page of a scan: its version, whether more follows, and entries with their keys.
pub const PAGE: u8 = 9;
/// What a store says of itself.
pub const STATUS: u8 = 10;
/// What a transaction answered: whether it succeeded, its version, and the results of its ops.
pub const TXN: u8 = 11;
/// A lease: its id, and its time to live in milliseconds.
pub const LEASE: u8 = 12;
/// A lease's times in milliseconds, granted and left, and its keys.
pub const LEASE_STATUS: u8 = 13;
/// The version that a watch starts after.
pub const WATCHING: u8 = 14;
/// Batches of watches, which are named before them: the bytes cross once, however many watches they go to.
pub const BATCHES: u8 = 15;
/// A view of the cluster.
pub const CLUSTER_VIEW: u8 = 16;
/// A vector: its numbers.
pub const VECTOR: u8 = 17;
/// For each query, how long it took and the vectors that it found.
pub const VECTOR_RESULTS: u8 = 18;
/// Vector indexes as they are now.
pub const VECTOR_INDEXES: u8 = 19;

const HAS_LEASE: u8 = 1;
const HAS_EXPIRY: u8 = 2;

/// Writes an entry without its key.
pub fn write_entry(out: &mut Writer<impl BufMut>, entry: &Entry) {
    let lease = if entry.lease.is_some() { HAS_LEASE } else { 0 };
    let expiry = if entry.expires_at.is_some() { HAS_EXPIRY } else { 0 };
    out.u8(lease | expiry);
    out.version(entry.version);
    out.version(entry.create_version);
    out.u64(entry.generation);
    if let Some(lease) = entry.lease {
        out.u64(lease.get());
    }
    if let Some(expires_at) = entry.expires_at {
        out.u64(expires_at);
    }
    out.bytes(&entry.value);
}

/// How many bytes [`write_entry`] writes.
#[must_use]
pub fn entry_len(entry: &Entry) -> usize {
    let optional = usize::from(entry.lease.is_some()) + usize::from(entry.expires_at.is_some());
    1 + 16 + 16 + 8 + 8 * optional + 4 + entry.value.len()
}

/// Writes an entry, or that there is none.
pub fn write_maybe_entry(out: &mut Writer<impl BufMut>, entry: Option<&Entry>) {
    match entry {
        Some(entry) => {
            out.u8(ENTRY);
            write_entry(out, entry);
        }
        None => out.u8(MISSING),
    }
}

/// Writes a page, every entry with its key.
pub(crate) fn write_page(out: &mut Writer<impl BufMut>, page: &Page) {
    out.version(page.version);
    out.u8(u8::from(page.more));
    out.u32(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
    for entry in &page.entries {
        out.bytes(&entry.key);
        write_entry(out, entry);
    }
}

// Flags of events.
const IS_DELETE: u8 = 1;
const HAS_PREV_ENTRY: u8 = 2;
const IS_EXPIRED: u8 = 4;
const IS_OF_LEASE: u8 = 8;

/// Writes a batch of a watch: its version and its events. Entries follow their keys; the one before has the key of
/// the one after, which is not repeated.
pub(crate) fn write_batch(out: &mut Writer<impl BufMut>, batch: &WatchBatch) {
    out.version(batch.version);
    out.u32(u32::try_from(batch.events.len()).unwrap_or(u32::MAX));
    for event in &batch.events {
        let kind = if event.kind == EventKind::Delete { IS_DELETE } else { 0 };
        let reason = match event.reason {
            EventReason::Write => 0,
            EventReason::Expired => IS_EXPIRED,
            EventReason::Lease => IS_OF_LEASE,
        };
        let prev = if event.prev_entry.is_some() { HAS_PREV_ENTRY } else { 0 };
        out.u8(kind | reason | prev);
        out.bytes(&event.entry.key);
        write_entry(out, &event.entry);
        if let Some(prev) = &event.prev_entry {
            write_entry(out, prev);
        }
    }
}

/// Writes how long a lease has left, and its keys.
pub(crate) fn write_lease_status(out: &mut Writer<impl BufMut>, status: &LeaseStatus) {
    out.u64(millis(status.granted));
    out.u64(millis(status.remaining));
    out.u32(u32::try_from(status.keys.len()).unwrap_or(u32::MAX));
    for key in &status.keys {
        out.bytes(key);
    }
}

/// A time in whole milliseconds, rounded down.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes an error with its fields, and the error that caused it.
pub fn write_error(out: &mut Writer<impl BufMut>, error: &Error) {
    write_error_at(out, error, 0);
}

fn write_error_at(out: &mut Writer<impl BufMut>, error: &Error, depth: u8) {
    out.u8(error.kind().number());
    out.bytes(error.message().as_bytes());
    out.u8(u8::try_from(error.fields().len()).unwrap_or(u8::MAX));
    for (name, field) in error.fields().iter().take(u8::MAX.into()) {
        out.u8(name.number());
        match field {
            Field::Bytes(bytes) => {
                out.u8(0);
                out.bytes(bytes);
            }
            Field::Version(version) => {
                out.u8(1);
                out.version(*version);
            }
            Field::Number(number) => {
                out.u8(2);
                out.u64(*number);
            }
            Field::Text(text) => {
                out.u8(3);
                out.bytes(text.as_bytes());
            }
        }
    }
    // One cause deep: the next is in its message.
    match error.cause().filter(|_| depth == 0) {
        Some(cause) => {
            out.u8(1);
            write_error_at(out, cause, depth + 1);
        }
        None => out.u8(0),
    }
}

/// Writes what a store says of itself; `src/cluster.ts` reads it, and the two below.
pub(crate) fn write_status(out: &mut Writer<impl BufMut>, status: &Status) {
    out.text(&status.store);
    out.u32(length(status.features.len()));
    for feature in &status.features {
        out.text(feature);
    }
    let limits = &status.limits;
    let limits =
        [limits.max_key_bytes, limits.max_value_bytes, limits.max_batch_ops, limits.max_page_entries];
    for limit in limits {
        out.u64(limit as u64);
    }
    out.version(status.version);
    out.u64(status.sizes.disk_bytes);
    out.version(status.sizes.compact_version);
    out.text(status.durability.as_str());
    out.u8(status.vectors.is_some().into());
    if let Some(vectors) = status.vectors {
        for number in [vectors.indexes, vectors.vectors, vectors.indexed] {
            out.u64(number);
        }
    }
    out.text(&status.software);
}

/// Writes a cluster view.
pub(crate) fn write_cluster_view(out: &mut Writer<impl BufMut>, view: &ClusterView) {
    out.u64(view.epoch);
    out.u32(length(view.nodes.len()));
    for node in &view.nodes {
        out.text(&node.id);
        out.text(&node.addr);
        out.text(&node.role);
    }
    out.u32(length(view.shards.len()));
    for shard in &view.shards {
        out.u32(shard.id);
        out.u32(length(shard.replicas.len()));
        for replica in &shard.replicas {
            out.text(&replica.node_id);
            out.u8(replica.leader.into());
        }
    }
}

/// Writes a client's counts.
pub(crate) fn write_stats(out: &mut Writer<impl BufMut>, stats: &Stats) {
    out.u64(stats.total_nodes as u64);
    out.u64(stats.active_connections as u64);
    out.u64(stats.epoch);
    out.u64(stats.cached_leaders as u64);
    out.u64(stats.requests.total);
    out.u64(stats.requests.failed);
    out.u64(stats.retried);
    out.u64(stats.requests.in_flight);
    let latency = &stats.requests.latency;
    for millis in [latency.p50_ms, latency.p95_ms, latency.p99_ms] {
        out.f64(millis);
    }
}

/// The number before that many things. No store has, and no answer holds, 2^32 of them.
pub(crate) fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
