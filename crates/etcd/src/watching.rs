//! Watches: etcd's, which goes on at another member where it was when the stream ends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use etcd_client::{
    Client, Event as EtcdEvent, EventType, GetOptions, WatchFilterType, WatchOptions, WatchResponse,
    WatchStream,
};
use futures_util::stream;
use norikv_core::{
    Backoff, Call, Entry, Error, ErrorKind, Event, EventKind, EventReason, FieldName, Result, Version, Watch,
    WatchBatch, Watching,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    connection::{Ask, MAX_REPLY_BYTES},
    entries::{entry, revision, version},
    error::failed,
    keys::EtcdRange,
    store::Inner,
};

/// How long a member may take to begin a watch.
const BEGIN: Duration = Duration::from_secs(3);
/// How long a stream may say nothing, though it was asked how far it is, before it counts as lost.
const SILENCE: Duration = Duration::from_secs(9);
/// How often a stream is asked how far it is.
const ASK: Duration = Duration::from_secs(4);
/// How often it is found out which is the oldest version that can be read, where members fail.
const FLOOR_TRIES: u32 = 3;

impl Inner {
    pub(crate) async fn watch(self: Arc<Self>, request: Watch, call: Call) -> Result<Watching> {
        request.range.check()?;
        // Asked of the cluster and not of the member that will watch: it may be behind.
        let range = self.keys.whole(&request.range);
        let current = self.current_by(range.start.clone(), call).await?;
        let next = match request.from {
            None => current.index + 1,
            Some(from) => match revision(from) {
                Some(at) if at > 0 && from.index <= current.index + 1 => from.index,
                Some(0) => 1,
                _ => {
                    return Err(Error::invalid_argument(format!(
                        "version {from} is in the future; the store is at {current}"
                    )));
                }
            },
        };
        let mut follower = Follower {
            range,
            next: i64::try_from(next).map_err(|_| Error::internal("etcd has a revision past its range"))?,
            fresh: request.from.is_none(),
            request,
            stream: None,
            ready: VecDeque::new(),
            failures: 0,
            canceled: false,
            ended: false,
            inner: self,
        };
        // What cannot be watched is told at once.
        follower.begin(call).await?;
        let start = version(follower.next - 1);
        let batches = stream::unfold(follower, |mut follower| async move {
            if follower.ended {
                return None;
            }
            let batch = follower.batch().await;
            follower.ended = batch.is_err();
            Some((batch, follower))
        });
        Ok(Watching { start, batches: Box::pin(batches) })
    }

    /// The oldest version that can be read, if something was compacted.
    pub(crate) async fn floor(&self, call: Call) -> Result<Option<Version>> {
        // What the first revision still answers was not compacted.
        let first = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let key = self.keys.first();
                async move { kv.get(key, Some(GetOptions::new().with_count_only().with_revision(1))).await }
            })
            .await;
        match first {
            Ok(_) => return Ok(None),
            Err(error) if error.kind() != ErrorKind::Compacted => return Err(error),
            Err(_) => {}
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.floor_by_watch(call).await {
                Err(error) if error.retryable() && tries < FLOOR_TRIES && !call.remaining().is_zero() => {}
                floor => return floor,
            }
        }
    }

    async fn floor_by_watch(&self, call: Call) -> Result<Option<Version>> {
        let (client, at) = self.connection.watcher().await.map_err(|failed| failed.error)?;
        let asking = async {
            // A watch from the beginning ends with the oldest revision that it could begin at.
            let options = WatchOptions::new().with_start_revision(1);
            let mut stream = client.watch_client().watch(self.keys.first(), Some(options)).await?;
            while let Some(response) = stream.message().await? {
                if response.compact_revision() > 0 {
                    return Ok(Some(version(response.compact_revision())));
                }
            }
            Ok(None)
        };
        let address = self.connection.address(at);
        let floor = match timeout(BEGIN.min(call.remaining() / 2), asking).await {
            Ok(Ok(floor)) => return Ok(floor),
            Ok(Err(error)) => failed(address, error).error,
            Err(_) => unavailable(address, "did not answer in time"),
        };
        self.connection.leave_member(at);
        Err(floor)
    }
}

/// A watch under way.
struct Follower {
    inner: Arc<Inner>,
    range: EtcdRange,
    request: Watch,
    /// The revision from which on nothing was told yet.
    next: i64,
    /// Whether it begins for the first time, and at the newest revision.
    fresh: bool,
    stream: Option<Streaming>,
    ready: VecDeque<WatchBatch>,
    /// How often it failed to begin since it last did.
    failures: u32,
    /// A member ended it, and not the connection.
    canceled: bool,
    ended: bool,
}

struct Streaming {
    stream: WatchStream,
    member: usize,
    /// Whether a reply about progress that was asked for comes after all events that it speaks of.
    in_order: bool,
    /// When something was last heard.
    heard: Instant,
    /// When it is next asked how far it is.
    ask: Instant,
    /// Whether the member has no past left to read for it.
    synced: bool,
    /// Whether it was asked, and has not answered yet.
    asked: bool,
    /// What it said last when it was asked, if it told nothing since.
    quiet: Option<i64>,
}

impl Follower {
    /// The next batch.
    async fn batch(&mut self) -> Result<WatchBatch> {
        let inner = Arc::clone(&self.inner);
        loop {
            // From here on it is not missed.
            let closing = inner.closing.notified();
            if self.inner.connection.is_closed() {
                return Err(Error::closed("the store"));
            }
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let Some(streaming) = &mut self.stream else {
                self.again().await?;
                continue;
            };
            let heard = tokio::select! {
                () = closing => continue,
                () = sleep_until(streaming.ask) => None,
                message = streaming.stream.message() => Some(message),
            };
            match heard {
                Some(Ok(Some(response))) => self.hear(&response)?,
                // It would be the same at any member.
                Some(Err(etcd_client::Error::GRpcStatus(status)))
                    if status.code() == tonic::Code::OutOfRange =>
                {
                    return Err(too_much(self.next));
                }
                // The member went away, or has no leader: another goes on where this one was.
                Some(Ok(None) | Err(_)) => self.lose(),
                None if streaming.heard.elapsed() > SILENCE => self.lose(),
                None => {
                    streaming.ask = Instant::now() + ASK;
                    // One question at a time: which of two is answered could not be told.
                    if !streaming.asked {
                        streaming.asked = true;
                        if streaming.stream.request_progress().await.is_err() {
                            self.lose();
                        }
                    }
                }
            }
        }
    }

    fn lose(&mut self) {
        if let Some(streaming) = self.stream.take() {
            self.inner.connection.leave_member(streaming.member);
        }
    }

    fn hear(&mut self, response: &WatchResponse) -> Result<()> {
        if let Some(streaming) = &mut self.stream {
            streaming.heard = Instant::now();
        }
        if response.compact_revision() > 0 {
            let floor = version(response.compact_revision());
            return Err(compacted(version(self.next), floor));
        }
        if response.canceled() {
            self.canceled = true;
            self.lose();
            return Ok(());
        }
        // A member that goes on may tell the last revision again.
        let told = self.next;
        for event in response.events() {
            self.take(event, told)?;
        }
        let Some(streaming) = &mut self.stream else { return Ok(()) };
        if !response.events().is_empty() || response.created() {
            streaming.quiet = None;
            streaming.synced |= !response.created();
            return Ok(());
        }
        if response.watch_id() < 0 {
            streaming.asked = false;
            streaming.ask = Instant::now() + ASK;
        }
        // With nothing to tell, the header says up to where there was nothing. A reply that may have overtaken events counts
        // once another was asked for, seconds after it came, and nothing was told between them.
        let at = response.header().map_or(0, etcd_client::ResponseHeader::revision);
        // Nor does it count before the member has read the past for this watch, which only what it tells of it shows.
        streaming.synced |= response.watch_id() >= 0;
        let in_order = response.watch_id() >= 0 || streaming.in_order;
        let known =
            if in_order { Some(at) } else { streaming.quiet.replace(at).filter(|_| streaming.synced) };
        if let Some(at) = known {
            self.next = self.next.max(at + 1);
        }
        if self.request.progress {
            self.ready.push_back(WatchBatch { version: version(self.next - 1), events: Vec::new() });
        }
        Ok(())
    }

    /// Puts an event into the batch of its revision, unless it is from before `told`.
    fn take(&mut self, event: &EtcdEvent, told: i64) -> Result<()> {
        let Some(found) = event.kv() else { return Err(Error::internal("etcd told an event without a key")) };
        let at = found.mod_revision();
        if at < told {
            return Ok(());
        }
        self.next = self.next.max(at + 1);
        let keys = &self.inner.keys;
        if keys.is_record(found.key()) {
            return Ok(());
        }
        let kind = match event.event_type() {
            EventType::Put => EventKind::Put,
            EventType::Delete => EventKind::Delete,
        };
        let mut told = entry(keys, found.clone());
        if kind == EventKind::Delete {
            told = gone(told);
        }
        let prev_entry = event.prev_kv().map(|found| entry(keys, found.clone()));
        let event = Event { kind, reason: EventReason::Write, entry: told, prev_entry };
        match self.ready.back_mut() {
            Some(batch) if batch.version == version(at) => batch.events.push(event),
            _ => self.ready.push_back(WatchBatch { version: version(at), events: vec![event] }),
        }
        Ok(())
    }

    /// Begins, at the first time.
    async fn begin(&mut self, call: Call) -> Result<()> {
        loop {
            match self.open((call.remaining() / 3).min(BEGIN)).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let delay = self.after(&error);
                    if !error.retryable() || delay >= call.remaining() {
                        return Err(error);
                    }
                    sleep(delay).await;
                }
            }
        }
    }

    /// Begins again, for as long as it takes: a watch ends when its reader leaves, and not with a member.
    async fn again(&mut self) -> Result<()> {
        match self.open(BEGIN).await {
            Ok(()) => Ok(()),
            Err(error) if error.retryable() => {
                let delay = self.after(&error);
                tokio::select! {
                    () = self.inner.closing.notified() => {}
                    () = sleep(delay) => {}
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn after(&mut self, _: &Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        Backoff::default().delay(self.failures)
    }

    /// Whether what is watched may be read. Why a member ends a watch it says in words alone; a read is refused with a
    /// code, and a client whose token the member does not know gets a new one for it.
    async fn may_watch(&self, client: &Client, member: usize, limit: Duration) -> Result<()> {
        let options = GetOptions::new().with_range(self.range.end.clone()).with_count_only().with_limit(1);
        let mut kv = client.kv_client();
        match timeout(limit, kv.get(self.range.start.clone(), Some(options))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(self.inner.connection.address(member), error).error),
            Err(_) => Err(unavailable(self.inner.connection.address(member), "did not answer in time")),
        }
    }

    async fn open(&mut self, limit: Duration) -> Result<()> {
        let (client, member) = match self.inner.connection.watcher().await {
            Ok(found) => found,
            Err(failed) => return Err(failed.error),
        };
        if std::mem::take(&mut self.canceled) {
            self.may_watch(&client, member, limit).await?;
        }
        let mut options = WatchOptions::new()
            .with_range(self.range.end.clone())
            .with_start_revision(self.next)
            .with_progress_notify();
        if self.request.prev_entry {
            options = options.with_prev_key();
        }
        let mut filters = Vec::new();
        if !self.request.puts {
            filters.push(WatchFilterType::NoPut);
        }
        if !self.request.deletes {
            filters.push(WatchFilterType::NoDelete);
        }
        let options = options.with_filters(filters);
        let opening = async {
            let mut stream = client
                .watch_client()
                .max_decoding_message_size(MAX_REPLY_BYTES)
                .watch(self.range.start.clone(), Some(options))
                .await?;
            let first = stream.message().await?;
            Ok::<_, etcd_client::Error>((stream, first))
        };
        let opened = timeout(limit, async {
            let opened = opening.await?;
            Ok::<_, etcd_client::Error>((
                opened,
                self.inner.connection.progress_in_order(member, &client).await,
            ))
        });
        let opened = opened.await;
        let error = match opened {
            Ok(Ok(((stream, Some(first)), in_order))) => {
                let now = Instant::now();
                let ask = now + ASK;
                self.stream = Some(Streaming {
                    stream,
                    member,
                    in_order,
                    heard: now,
                    ask,
                    synced: self.fresh,
                    asked: false,
                    quiet: None,
                });
                self.fresh = false;
                self.hear(&first)?;
                return match self.canceled {
                    true => Err(unavailable(self.inner.connection.address(member), "refused the watch")),
                    false => {
                        self.failures = 0;
                        Ok(())
                    }
                };
            }
            Ok(Ok(((_, None), _))) => unavailable(self.inner.connection.address(member), "ended the watch"),
            Ok(Err(error)) => failed(self.inner.connection.address(member), error).error,
            Err(_) => unavailable(self.inner.connection.address(member), "did not begin the watch in time"),
        };
        self.inner.connection.leave_member(member);
        Err(error)
    }
}

fn unavailable(address: &str, what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("etcd at {address} {what}"))
}

fn too_much(next: i64) -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "what etcd tells at once from version {} on is more than {} MiB; read the entries and watch from now on",
            version(next),
            MAX_REPLY_BYTES >> 20
        ),
    )
}

fn compacted(asked: Version, floor: Version) -> Error {
    Error::new(
        ErrorKind::Compacted,
        format!(
            "the history from version {asked} on has been compacted; the oldest that can be read is {floor}"
        ),
    )
    .with(FieldName::CompactVersion, floor)
}

/// What is told of an entry that is gone: its key and the version in which it went.
fn gone(entry: Entry) -> Entry {
    Entry {
        value: bytes::Bytes::new(),
        create_version: Version::ZERO,
        generation: 0,
        lease: None,
        expires_at: None,
        ..entry
    }
}
