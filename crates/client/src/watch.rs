//! Watches. One that broke goes on where it broke, at whatever node answers: without an end, a gap or a repeat.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
    vec,
};

use futures_util::{
    future::{Either, select},
    stream,
};
use norikv_core::{
    Backoff, Call, Error, ErrorKind, Event, Field, FieldName, NodeAddress, PROGRESS_INTERVAL, Result,
    Version, Watch, WatchBatch, Watching, xxhash64,
};
use norikv_proto::{batch_from_wire, ext, watch_to_wire};
use prost::Message;

use crate::{
    alone,
    attempts::Attempts,
    calls::reached,
    core::Core,
    grpc::MAX_MESSAGE_BYTES,
    node::Node,
    transport::{Failed, Link, MessageStream, Reach, Transport},
};

const WATCH: &str = "/norikv.ext.v1.Watch/Watch";
const WHAT: &str = "watch keys";
/// How long is waited between attempts to go on.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(10),
    max: Duration::from_secs(1),
    multiplier: 2.0,
    jitter: true,
};
/// A server that says nothing for so long, not even how far it is, is not there any more.
const SILENCE: Duration = Duration::from_millis(PROGRESS_INTERVAL.as_secs() * 2_500);

/// Begins a watch. Until it has begun it is tried like a read.
pub(crate) async fn watch<T: Transport>(core: &Arc<Core<T>>, request: Watch, call: Call) -> Result<Watching> {
    request.range.check()?;
    core.check_open()?;
    let (progress, from) = (request.progress, request.from);
    // Watches of different ranges spread over the nodes.
    let hash = xxhash64(&request.range.start);
    // How far a quiet watch is must be known even if nobody asks: it goes on from there, and not from a version that
    // is forgotten by then.
    let request = watch_to_wire(Watch { progress: true, ..request });
    let mut attempts = Attempts::new(core, call, hash, false, true);
    let (start, source) = loop {
        let Some(node) = core.with(|state| state.router.pick(hash, attempts.tries)) else {
            return Err(Error::closed("the client"));
        };
        match open(&node, &request).await {
            Ok(begun) => {
                reached(core, &node);
                break begun;
            }
            Err(failed) if failed.is_unimplemented() => {
                return Err(alone::unsupported(&node.address, WHAT, alone::EXT));
            }
            Err(Failed::TooLarge(error)) => return Err(error),
            Err(failed) => attempts.failed(failed, node.index).await?,
        }
    };
    let seen = from.map_or(start, |from| Version::new(from.term, from.index.saturating_sub(1)));
    let follower = Follower {
        core: Arc::clone(core),
        request,
        hash,
        progress,
        seen,
        source: Some(source),
        failures: 0,
        led: false,
    };
    let batches = stream::try_unfold(follower, |mut follower| async move {
        let batch = follower.next().await?;
        Ok(Some((batch, follower)))
    });
    Ok(Watching { start, batches: Box::pin(batches) })
}

/// What a server sends of a watch.
struct Source<L: Link> {
    node: Arc<Node<L>>,
    messages: L::Stream,
    /// What is left of the last message.
    batches: vec::IntoIter<ext::WatchBatch>,
    /// The changes of a revision of which not all are here.
    part: Option<Part>,
}

struct Part {
    version: Version,
    events: Vec<Event>,
    bytes: usize,
}

/// Opens a watch at a node. Answers the version that it starts after.
async fn open<L: Link>(
    node: &Arc<Node<L>>,
    request: &ext::WatchRequest,
) -> Result<(Version, Source<L>), Failed> {
    let mut messages = node.link.lasting(WATCH, request.encode_to_vec().into()).await?;
    let first = poll_fn(|cx| messages.poll_next(cx)).await?;
    let first: ext::WatchResponse = alone::decode(&node.address, first.ok_or_else(|| ended(&node.address))?)?;
    let Some(start) = first.created else {
        return Err(broke(&node.address, "its first message does not say that the watch has begun"));
    };
    let source = Source { node: Arc::clone(node), messages, batches: first.batches.into_iter(), part: None };
    Ok((start.into(), source))
}

/// A watch that has begun.
struct Follower<T: Transport> {
    core: Arc<Core<T>>,
    request: ext::WatchRequest,
    hash: u64,
    /// Whether the caller wants to know how far it is.
    progress: bool,
    /// The version up to which nothing is missing.
    seen: Version,
    /// None while it is to go on somewhere.
    source: Option<Source<T::Link>>,
    /// Attempts in a row that failed.
    failures: u32,
    /// The last one was told who leads.
    led: bool,
}

impl<T: Transport> Follower<T> {
    /// # Errors
    /// What ends the watch.
    async fn next(&mut self) -> Result<WatchBatch> {
        loop {
            self.core.check_open()?;
            let Some(source) = &mut self.source else {
                self.reopen().await?;
                continue;
            };
            if let Some(batch) = source.batches.next() {
                match self.take(batch)? {
                    Some(batch) => return Ok(batch),
                    None => continue,
                }
            }
            let address = &source.node.address;
            let message = pin!(poll_fn(|cx| source.messages.poll_next(cx)));
            let failed = match select(message, pin!(self.core.sleep(SILENCE))).await {
                Either::Left((Ok(Some(message)), _)) => {
                    match alone::decode::<ext::WatchResponse>(address, message) {
                        Ok(response) => {
                            source.batches = response.batches.into_iter();
                            continue;
                        }
                        Err(failed) => failed,
                    }
                }
                Either::Left((Ok(None), _)) => ended(address),
                Either::Left((Err(failed), _)) => failed,
                Either::Right((slept, _)) => {
                    slept?;
                    silent(address)
                }
            };
            self.failed(failed)?;
        }
    }

    /// Goes on at a node.
    async fn reopen(&mut self) -> Result<()> {
        if self.failures > 0 {
            self.core.sleep(BACKOFF.delay(self.failures)).await?;
        }
        // The node that leads is not the one to insist on, unless a node just named it.
        let (hash, tries) = (self.hash, self.failures);
        let node = self.core.with(|state| {
            if self.led { state.router.pick(hash, tries) } else { state.router.pick_any(hash, tries) }
        });
        let Some(node) = node else { return Err(Error::closed("the client")) };
        self.request.from = Some(Version::new(self.seen.term, self.seen.index.saturating_add(1)).into());
        let opened = {
            let opening = pin!(open(&node, &self.request));
            match select(opening, pin!(self.core.sleep(SILENCE))).await {
                Either::Left((opened, _)) => opened,
                Either::Right((slept, _)) => {
                    slept?;
                    Err(silent(&node.address))
                }
            }
        };
        match opened {
            Ok((_, source)) => {
                reached(&self.core, &node);
                // Not over its failures yet: what only ever opens and breaks is not to be asked without end. What it
                // tells, if only how far it is, ends them.
                self.source = Some(source);
                Ok(())
            }
            Err(failed) => self.failed_at(failed, &node),
        }
    }

    /// A whole batch that the caller has not had, if this makes one.
    fn take(&mut self, batch: ext::WatchBatch) -> Result<Option<WatchBatch>> {
        let Some(source) = &mut self.source else { return Ok(None) };
        let (more, bytes) = (batch.more, batch.encoded_len());
        let mut batch = batch_from_wire(batch)?;
        if let Some(mut part) = source.part.take() {
            if part.version != batch.version {
                let failed = broke(&source.node.address, "it left out the rest of a revision");
                return self.failed(failed).map(|()| None);
            }
            part.bytes += bytes;
            if part.bytes > MAX_MESSAGE_BYTES {
                return Err(too_large(&source.node.address, part.bytes));
            }
            part.events.append(&mut batch.events);
            if more {
                source.part = Some(part);
                return Ok(None);
            }
            batch.events = part.events;
        } else if more {
            source.part = Some(Part { version: batch.version, events: batch.events, bytes });
            return Ok(None);
        }
        self.failures = 0;
        let told = batch.events.is_empty();
        if batch.version < self.seen || (batch.version == self.seen && !told) {
            return Ok(None);
        }
        self.seen = batch.version;
        Ok(Some(batch).filter(|_| !told || self.progress))
    }

    fn failed(&mut self, failed: Failed) -> Result<()> {
        match self.source.take() {
            Some(source) => self.failed_at(failed, &source.node),
            None => Ok(()),
        }
    }

    /// After a failure at a node: returns if the watch can go on.
    fn failed_at(&mut self, failed: Failed, node: &Node<T::Link>) -> Result<()> {
        self.core.check_open()?;
        let reach = failed.reach();
        let error = match failed {
            failed if failed.is_unimplemented() => {
                return Err(alone::unsupported(&node.address, WHAT, alone::EXT));
            }
            Failed::TooLarge(error) => return Err(error),
            failed => failed.into_error(),
        };
        if matches!(
            error.kind(),
            ErrorKind::Compacted
                | ErrorKind::InvalidArgument
                | ErrorKind::Unauthenticated
                | ErrorKind::PermissionDenied
                | ErrorKind::Unsupported
                | ErrorKind::Corruption
                | ErrorKind::Closed
        ) {
            return Err(error);
        }
        let hint = match error.field(FieldName::LeaderHint) {
            Some(Field::Text(hint)) if error.kind() == ErrorKind::NotLeader => Some(Arc::clone(hint)),
            _ => None,
        };
        let (core, hash) = (&self.core, self.hash);
        self.led = core.with(|state| {
            if (reach == Reach::NotSent || error.kind() == ErrorKind::Connection)
                && let Some(place) = state.place(node.index)
            {
                place.unreachable(error.message());
            }
            hint.is_some_and(|hint| {
                state.router.forget_leader(hash, node.index);
                state.router.learn_leader(hash, &hint, core.link())
            })
        });
        core.retried.fetch_add(1, Ordering::Relaxed);
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}

fn broke(address: &NodeAddress, why: &str) -> Failed {
    let message = format!("the watch at {address} broke: {why}");
    Failed::Lost(at(address, Error::new(ErrorKind::Unavailable, message)))
}

fn ended(address: &NodeAddress) -> Failed {
    broke(address, "the server ended it without a reason")
}

fn silent(address: &NodeAddress) -> Failed {
    let message = format!("{address} was silent for {} s", SILENCE.as_secs());
    // Other nodes are better asked for the moment.
    Failed::NotSent(at(address, Error::new(ErrorKind::Connection, message)))
}

fn too_large(address: &NodeAddress, bytes: usize) -> Error {
    let message = format!(
        "one revision changed {bytes} bytes or more of what is watched at {address}, and at most {MAX_MESSAGE_BYTES} are taken; watch a smaller range, or without the entries before"
    );
    at(address, Error::new(ErrorKind::ResourceExhausted, message))
}

fn at(address: &NodeAddress, error: Error) -> Error {
    error.with(FieldName::Address, address.to_string().as_str())
}
