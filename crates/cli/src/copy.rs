//! `norikv copy`: makes one store equal to another, while that one is written to.
//!
//! The target follows the source: at any time all keys up to a place in their order are as they were at the source at one
//! version, that up to which the source's watch was read. A page of the source is read at that version, so that it fits to the
//! changes that were told before it and to those that are told after it, however long the whole takes.
//!
//! | file | what it does |
//! |---|---|
//! | `ends.rs` | opens both stores, and refuses those that cannot be copied |
//! | `same.rs` | tells whether two addresses lead to one etcd cluster |
//! | `source.rs` | reads the source: pages at the version that its watch has come to |
//! | `wanted.rs` | what of an entry travels, and whether the target has it |
//! | `merge.rs` | the target's differences from a page of the source |
//! | `target.rs` | writes into the target |
//! | `note.rs` | the note in the target that says whose copy it is |
//! | `work.rs` | copies, follows and verifies |
//! | `patience.rs` | asks again while a store is away |
//! | `progress.rs` | tells how far it is |

mod ends;
mod merge;
mod note;
mod patience;
mod progress;
mod same;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod wanted;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};

use norikv_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;

use crate::{args::Copy, signals::Signals};

/// The exit code where a verifying pass found differences.
pub(crate) const DIFFERENT: i32 = 3;
/// The exit code where a copy was to end, and the source was still written to.
pub(crate) const STILL_WRITTEN: i32 = 4;

/// How somebody who follows is told to come to an end.
#[derive(Default)]
pub(crate) struct Finish {
    /// Whether a signal means to come to an end, and not to break off.
    following: AtomicBool,
    asked: Notify,
}

impl Finish {
    /// From now on a signal is a wish to come to an end.
    fn follow(&self) {
        self.following.store(true, Ordering::SeqCst);
    }

    async fn asked(&self) {
        self.asked.notified().await;
    }
}

/// Copies a store. Answers the exit code.
///
/// # Errors
/// Whatever the stores answer; `InvalidArgument` for stores that are not copied, and `Cancelled` if a signal came.
pub(crate) async fn copy(args: &Copy) -> Result<i32> {
    // Before anything is opened: a signal that comes while a store opens must not tear it.
    let mut signals =
        Signals::listen().map_err(|error| Error::internal("cannot listen to signals").caused_by(error))?;
    let ends = ends::Ends::open(args).await?;
    let finish = Finish::default();
    let done = {
        let mut work = std::pin::pin!(work::run(args, &ends, &finish));
        loop {
            tokio::select! {
                done = &mut work => break done,
                () = signals.next() => {
                    if !finish.following.swap(false, Ordering::SeqCst) {
                        break Err(broken_off(args));
                    }
                    finish.asked.notify_one();
                }
            }
        }
    };
    let closed = tokio::select! {
        closed = ends.close() => closed,
        () = signals.next() => Err(broken_off(args)),
    };
    done.and_then(|code| closed.map(|()| code))
}

fn broken_off(args: &Copy) -> Error {
    let what = if args.verify_only {
        "a signal came; the stores were not compared to their end"
    } else {
        "a signal came; the copy is not whole: run the same command again, and it goes on"
    };
    Error::new(ErrorKind::Cancelled, what)
}
