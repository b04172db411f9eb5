//! `etcdserverpb.Watch`: a stream of requests, and what the watches that they begin have to tell.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
};

use async_trait::async_trait;
use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream, stream::SelectAll};
use norikv_core::{ErrorKind, Result, Version};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    peer::{OpenWatch, Peer},
    phase::{Phase, reached},
};

use super::{
    errors::{Failed, STOPPED},
    follower::{Asked, Control, Follower, Told, begin},
    member::Member,
};

/// The number that etcd gives to no watch: of an answer that is for all of them, and of one that did not begin.
const NO_WATCH: i64 = -1;

/// Watches, as etcd's clients call for them.
pub(crate) struct WatchService {
    pub(crate) member: Arc<Member>,
}

#[async_trait]
impl PbWatchService for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<PbWatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        // Without an end, and counted like what has none.
        let open = peer.as_ref().map(|peer| peer.open_watch(true)).transpose().map_err(Failed::from)?;
        let watches = Watches {
            member: Arc::clone(&self.member),
            peer,
            draining: reached(self.member.phase.clone(), Phase::Draining).boxed(),
            requests: request.into_inner(),
            over: false,
            followers: SelectAll::new(),
            watches: HashMap::new(),
            next_id: 0,
            progress: None,
            ready: VecDeque::new(),
            _open: open,
        };
        let told = stream::unfold(Some(watches), |watches| async {
            let mut watches = watches?;
            let told = watches.next().await;
            let ends = told.is_err();
            Some((told, (!ends).then_some(watches)))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

/// The watches of one stream.
///
/// HTTP/2 asks for a response when the client has room for it, and requests and stores are asked only then: a client that does
/// not read holds back nothing but its own stream.
struct Watches {
    member: Arc<Member>,
    peer: Option<Arc<Peer>>,
    requests: Streaming<PbWatchRequest>,
    /// Whether the client has nothing more to ask; its watches go on.
    over: bool,
    draining: BoxFuture<'static, ()>,
    followers: SelectAll<Follower>,
    watches: HashMap<i64, Known>,
    next_id: i64,
    /// The client wants to know when all its watches have come to this revision.
    progress: Option<Version>,
    /// Of one request or one step of a watch.
    ready: VecDeque<PbWatchResponse>,
    _open: Option<OpenWatch>,
}

/// What is known of a watch.
struct Known {
    control: Arc<Control>,
    /// Nothing up to this revision is missing.
    through: u64,
    /// Whether to tell how far it is when it has nothing else to tell.
    notify: bool,
    fragment: bool,
}

impl Watches {
    async fn next(&mut self) -> Result<PbWatchResponse, Status> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Ok(response);
            }
            tokio::select! {
                () = &mut self.draining => return Err(STOPPED.into()),
                request = self.requests.message(), if !self.over => match request? {
                    Some(request) => self.hear(request).await?,
                    None => self.over = true,
                },
                Some((id, told)) = self.followers.next() => self.tell(id, told).await?,
            }
        }
    }

    async fn hear(&mut self, request: PbWatchRequest) -> Result<(), Failed> {
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                let fragment = create.fragment;
                let (id, asked) = (
                    create.watch_id,
                    Asked {
                        key: create.key,
                        range_end: create.range_end,
                        start_revision: create.start_revision,
                        filters: create.filters,
                        prev_kv: create.prev_kv,
                    },
                );
                self.create(id, asked, create.progress_notify, fragment).await
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                let newest = self.member.newest(self.member.call_within()).await?;
                self.progress = self.progress.max(Some(newest));
                self.tell_progress();
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, id: i64, asked: Asked, notify: bool, fragment: bool) -> Result<(), Failed> {
        let call = self.member.call_within();
        if id != 0 && self.watches.contains_key(&id) {
            return self.refuse("mvcc: duplicate watch ID provided on the WatchStream").await;
        }
        let Some(watch) = asked.range() else {
            return self.refuse("mvcc: watcher range is empty").await;
        };
        let room = match self.peer.as_ref().map(|peer| peer.open_watch(false)).transpose() {
            Ok(room) => room,
            Err(error) => return self.refuse(error.message()).await,
        };
        let id = if id == 0 { self.free_id() } else { id };
        let newest = self.member.newest(call).await?;
        let created = |version: Version| PbWatchResponse {
            header: Some(self.member.header(version)),
            watch_id: id,
            created: true,
            ..Default::default()
        };
        match begin(&self.member, watch, asked.start_revision, newest, call).await {
            Ok(begun) => {
                let version = if asked.start_revision > 0 { newest } else { begun.start };
                self.ready.push_back(created(version));
                let (control, follower) = Follower::new(id, begun, room);
                let through = control.through();
                self.watches.insert(id, Known { control, through, notify, fragment });
                self.followers.push(follower);
                Ok(())
            }
            Err(error) if error.is_compacted() => {
                self.ready.push_back(created(newest));
                self.end(id, error).await
            }
            Err(error) if error.is_for_another_time() => Err(error),
            Err(error) => self.refuse(&error.to_string()).await,
        }
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// A watch that does not begin.
    async fn refuse(&mut self, reason: &str) -> Result<(), Failed> {
        let newest = self.member.newest(self.member.call_within()).await?;
        self.ready.push_back(PbWatchResponse {
            header: Some(self.member.header(newest)),
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        });
        Ok(())
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Failed> {
        let Some(known) = self.watches.remove(&id) else { return Ok(()) };
        known.control.end();
        let newest = self.member.newest(self.member.call_within()).await?;
        self.ready.push_back(PbWatchResponse {
            header: Some(self.member.header(newest)),
            watch_id: id,
            canceled: true,
            ..Default::default()
        });
        self.tell_progress();
        Ok(())
    }

    /// A watch that goes on no more.
    async fn end(&mut self, id: i64, error: Failed) -> Result<(), Failed> {
        self.watches.remove(&id);
        let call = self.member.call_within();
        let newest = self.member.newest(call).await?;
        let compact_revision = match error.compact_revision() {
            Some(revision) => revision,
            None if error.is_compacted() => self.member.store.status(call).await?.sizes.compact_version.index,
            None => 0,
        };
        self.ready.push_back(PbWatchResponse {
            header: Some(self.member.header(newest)),
            watch_id: id,
            canceled: true,
            compact_revision: super::convert::number(compact_revision),
            cancel_reason: error.to_string(),
            ..Default::default()
        });
        self.tell_progress();
        Ok(())
    }

    async fn tell(&mut self, id: i64, told: Told) -> Result<(), Failed> {
        let Some(known) = self.watches.get_mut(&id) else { return Ok(()) };
        match told {
            Told::Events(version, parts) => {
                known.through = known.through.max(version.index);
                let fragment = known.fragment;
                let parts = if fragment { parts } else { vec![parts.into_iter().flatten().collect()] };
                let last = parts.len().saturating_sub(1);
                for (at, events) in parts.into_iter().enumerate() {
                    self.ready.push_back(PbWatchResponse {
                        header: Some(self.member.header(version)),
                        watch_id: id,
                        fragment: at < last,
                        events,
                        ..Default::default()
                    });
                }
            }
            Told::Progress(version) => {
                known.through = known.through.max(version.index);
                if known.notify {
                    self.ready.push_back(PbWatchResponse {
                        header: Some(self.member.header(version)),
                        watch_id: id,
                        ..Default::default()
                    });
                }
            }
            Told::Failed(error) => {
                let error = Failed::from(error);
                // The client begins again elsewhere, or here once it is better.
                if error.is_for_another_time() {
                    return Err(error);
                }
                return self.end(id, error).await;
            }
        }
        self.tell_progress();
        Ok(())
    }

    /// Tells how far all watches are, once they are as far as was asked for.
    fn tell_progress(&mut self) {
        let Some(asked) = self.progress else { return };
        if self.watches.values().all(|known| known.through >= asked.index) {
            self.progress = None;
            self.ready.push_back(PbWatchResponse {
                header: Some(self.member.header(asked)),
                watch_id: NO_WATCH,
                ..Default::default()
            });
        }
    }
}

impl Failed {
    fn is_compacted(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == ErrorKind::Compacted)
    }

    /// Whether another attempt, here or at another member, may do better.
    fn is_for_another_time(&self) -> bool {
        matches!(self, Self::Store(error) if error.retryable() || error.kind() == ErrorKind::Closed)
    }
}
