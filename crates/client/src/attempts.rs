//! The attempts of one call: what a failure means, and where and when the call is made again.

use std::sync::{Arc, atomic::Ordering};

use norikv_core::{Call, Error, ErrorKind, Field, FieldName, Result, Retry};

use crate::{
    core::Core,
    transport::{Failed, Reach, Transport},
};

/// How often a call follows a hint to another node before it waits like after any other failure.
const MAX_REDIRECTS: u32 = 4;

pub(crate) struct Attempts<'a, T: Transport> {
    core: &'a Arc<Core<T>>,
    call: Call,
    retry: Retry,
    hash: u64,
    write: bool,
    redirects: u32,
    hops: usize,
    /// An attempt failed in a way that may pass.
    passing: bool,
    /// What did not work so far, for the router.
    pub(crate) tries: u32,
    /// An attempt may have done its work without an answer.
    doubt: bool,
}

impl<'a, T: Transport> Attempts<'a, T> {
    pub(crate) fn new(core: &'a Arc<Core<T>>, call: Call, hash: u64, write: bool, repeatable: bool) -> Self {
        let retry = Retry::new(core.settings.retry, call, repeatable);
        Self { core, call, retry, hash, write, redirects: 0, hops: 0, passing: false, tries: 0, doubt: false }
    }

    /// Whether an earlier attempt may have done the write.
    pub(crate) fn in_doubt(&self) -> bool {
        self.doubt
    }

    /// After a failed attempt at a node: returns when the call is to be made again.
    ///
    /// # Errors
    /// The call's own failure.
    pub(crate) async fn failed(&mut self, failed: Failed, node: usize) -> Result<()> {
        self.core.check_open()?;
        self.core.start();
        let reach = failed.reach();
        self.passing |= !failed.lasts();
        let error = self.timed(failed.into_error());
        self.doubt |= self.write && matches!(reach, Reach::Lost | Reach::Unclear);
        if error.kind() == ErrorKind::NotLeader && self.redirect(&error, node) {
            self.core.retried.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if reach == Reach::NotSent && self.hop(&error, node) {
            self.core.retried.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        // Where TLS fails at every node, it fails again.
        if !self.passing {
            return Err(self.last(error, reach));
        }
        // A browser does not tell whether a request had left that met nobody; others are better asked either way.
        if reach == Reach::Lost && error.kind() == ErrorKind::Connection {
            self.unreachable(&error, node);
        }
        let Some(delay) = self.retry.after(&error, reach != Reach::NotSent) else {
            return Err(self.last(error, reach));
        };
        self.tries = self.tries.wrapping_add(1);
        self.core.retried.fetch_add(1, Ordering::Relaxed);
        self.core.sleep(delay).await
    }

    /// A deadline that passed at the server is the call's own, and says how long it was.
    fn timed(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::DeadlineExceeded || error.field(FieldName::TimeoutMs).is_some() {
            return error;
        }
        let own = self.call.deadline_exceeded();
        error.fields().iter().fold(own, |own, (name, value)| own.with(*name, value.clone())).caused_by(error)
    }

    /// Follows the hint of a node that does not lead the key's shard.
    fn redirect(&mut self, error: &Error, node: usize) -> bool {
        let hint = match error.field(FieldName::LeaderHint) {
            Some(Field::Text(hint)) => Some(Arc::clone(hint)),
            _ => None,
        };
        let core = self.core;
        let learnt = core.with(|state| {
            state.router.forget_leader(self.hash, node);
            hint.is_some_and(|hint| state.router.learn_leader(self.hash, &hint, core.link()))
        });
        self.redirects += 1;
        learnt && self.redirects <= MAX_REDIRECTS && !self.call.remaining().is_zero()
    }

    /// Goes to another node at once if this one could not be reached and there is one that may be.
    fn hop(&mut self, error: &Error, node: usize) -> bool {
        self.unreachable(error, node);
        let other = self.core.with(|state| (self.hops < state.router.len()) && state.router.has_other(node));
        self.hops += 1;
        other && !self.call.remaining().is_zero()
    }

    fn unreachable(&self, error: &Error, node: usize) {
        self.core.with(|state| {
            if let Some(place) = state.place(node) {
                place.unreachable(error.message());
            }
        });
    }

    /// The error of the call after its last attempt.
    pub(crate) fn last(&self, error: Error, reach: Reach) -> Error {
        if self.doubt {
            return self.unknown(error);
        }
        if reach == Reach::NotSent && error.kind() == ErrorKind::Connection {
            return self.no_nodes(error);
        }
        error
    }

    /// The error of a write of which an attempt may have been carried out.
    fn unknown(&self, error: Error) -> Error {
        let advice = "whether the write took place is not known: read the key before deciding again, or write with an idempotencyKey, which makes a repeat safe";
        // A server that says itself that it does not know, as with a full disk, has said more than that.
        let told = error.field(FieldName::Outcome).is_some();
        let transient = !told
            && matches!(
                error.kind(),
                ErrorKind::Unavailable
                    | ErrorKind::Connection
                    | ErrorKind::NotLeader
                    | ErrorKind::ResourceExhausted
                    | ErrorKind::Cancelled
                    | ErrorKind::Internal
            );
        let kind = if transient { ErrorKind::Unavailable } else { error.kind() };
        let fields = error.fields().to_vec();
        let unknown = fields
            .into_iter()
            .fold(Error::new(kind, format!("{}; {advice}", error.message())), |error, (name, value)| {
                error.with(name, value)
            })
            .with(FieldName::Outcome, "unknown");
        unknown.caused_by(error)
    }

    /// The error when no node can be reached: with several, it names each.
    fn no_nodes(&self, error: Error) -> Error {
        let each: Vec<String> = self.core.with(|state| {
            if state.router.len() < 2 || state.router.nodes().any(|node| node.last_failure.is_none()) {
                return Vec::new();
            }
            state.router.nodes().filter_map(|node| node.last_failure.clone()).collect()
        });
        if each.is_empty() {
            return error;
        }
        Error::new(
            ErrorKind::NoNodesAvailable,
            format!("none of the nodes can be reached: {}", each.join(" · ")),
        )
        .caused_by(error)
    }
}
