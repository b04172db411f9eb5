use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use norikv_core::{
    Call, Error, Limits, MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS, MAX_VECTOR_BATCH, MAX_VECTOR_DIMENSIONS,
    MAX_VECTOR_ID_BYTES, StoreRef,
};
use norikv_proto::{
    ext::{
        lease_server::LeaseServer, store_server::StoreServer, streams_server::StreamsServer,
        vectors_server::VectorsServer,
    },
    v1::{kv_server::KvServer, meta_server::MetaServer, vector_server::VectorServer},
};
use tokio::time::{Sleep, sleep_until};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service as _, StdError},
};
use tonic_health::pb::health_server::HealthServer;

use crate::{
    ServerSettings,
    deadline::call_of,
    etcd::{self, Etcd},
    ext::ExtService,
    health::HealthService,
    kv::KvService,
    lease::LeaseService,
    meta::{CameBy, MetaService},
    peer::Peer,
    phase::PhaseWatch,
    status::status_of,
    streams::{Sessions, StreamsService, Within},
    vector::VectorService,
    watch::WatchService,
};

/// What a request takes beside its value: the key, the idempotency key, and the framing, with room to spare.
const OVERHEAD_BYTES: usize = 16 * 1024;
/// The most bytes of a batch or a transaction, beside the one value that may be as large as the store takes, and
/// beside what each op of a transaction takes.
const BATCH_BYTES: usize = MAX_TXN_BYTES;
const OP_BYTES: usize = 2 * 1024;
/// The most bytes of what begins streams: a few hundred requests of watches.
const STREAMS_BYTES: usize = 4 * 1024 * 1024;
/// Twice what a vector and its id take at most: one that is too long is the store's to refuse, which says how long it is.
const VECTOR_BYTES: usize = 2 * (MAX_VECTOR_DIMENSIONS * size_of::<f32>() + MAX_VECTOR_ID_BYTES);
const WATCH: &str = "/norikv.ext.v1.Watch/Watch";

/// Sends every request to its service, and sees to what holds for all of them: the deadline, and the statuses of
/// requests that never reached a service.
#[derive(Clone)]
pub(crate) struct Dispatch {
    services: Arc<Services>,
    peer: Arc<Peer>,
}

struct Services {
    kv: KvServer<KvService>,
    meta: MetaServer<MetaService>,
    vector: VectorServer<VectorService>,
    health: HealthServer<HealthService>,
    ext: Option<Ext>,
    etcd: Option<Etcd>,
    settings: ServerSettings,
}

/// The services of `norikv.ext.v1`.
struct Ext {
    store: StoreServer<ExtService>,
    lease: LeaseServer<LeaseService>,
    vectors: VectorsServer<VectorService>,
    watch: WatchService,
    sessions: Arc<Sessions>,
}

impl Dispatch {
    pub(crate) fn new(
        store: StoreRef,
        limits: &Limits,
        settings: &ServerSettings,
        local: std::net::SocketAddr,
        phase: PhaseWatch,
    ) -> Self {
        let bound = settings.request_timeout;
        // One byte too many is the store's to refuse, which names both sizes; far too many are not even read.
        let single = limits.max_value_bytes.saturating_mul(2).saturating_add(OVERHEAD_BYTES + MAX_KEY_BYTES);
        let many = limits.max_value_bytes.saturating_add(BATCH_BYTES + MAX_TXN_OPS * OP_BYTES);
        let ext = (!settings.norikv_v1_only).then(|| {
            let service = ExtService { store: store.clone(), bound, max_batch_ops: settings.max_batch_ops };
            let lease = LeaseService { store: store.clone(), bound };
            let vectors = VectorService { store: store.clone(), bound };
            Ext {
                store: StoreServer::new(service).max_decoding_message_size(many),
                lease: LeaseServer::new(lease).max_decoding_message_size(OVERHEAD_BYTES),
                vectors: VectorsServer::new(vectors)
                    .max_decoding_message_size(MAX_VECTOR_BATCH * VECTOR_BYTES + OVERHEAD_BYTES),
                watch: WatchService { store: store.clone(), phase: phase.clone() },
                sessions: Arc::default(),
            }
        });
        let mut services = vec!["", "norikv.v1.Kv", "norikv.v1.Meta", "norikv.v1.Vector"];
        if ext.is_some() {
            services.extend([
                "norikv.ext.v1.Store",
                "norikv.ext.v1.Lease",
                "norikv.ext.v1.Watch",
                "norikv.ext.v1.Streams",
                "norikv.ext.v1.Vectors",
            ]);
        }
        let etcd = settings.etcd_api.then(|| {
            services.extend(etcd::SERVICES);
            Etcd::new(store.clone(), limits.max_value_bytes, many, settings, local, phase.clone())
        });
        let meta = MetaService {
            node_id: settings.node_id.clone(),
            advertise: settings.advertise.clone(),
            local,
            phase: phase.clone(),
        };
        let vector = VectorService { store: store.clone(), bound };
        let services = Services {
            kv: KvServer::new(KvService { store, bound }).max_decoding_message_size(single),
            meta: MetaServer::new(meta),
            vector: VectorServer::new(vector).max_decoding_message_size(VECTOR_BYTES + OVERHEAD_BYTES),
            health: HealthServer::new(HealthService { services, phase }),
            ext,
            etcd,
            settings: settings.clone(),
        };
        Self { services: Arc::new(services), peer: Peer::new(settings) }
    }

    /// What is counted of the connection.
    pub(crate) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The same services for a further connection.
    pub(crate) fn for_connection(&self) -> Self {
        Self { services: Arc::clone(&self.services), peer: Peer::new(&self.services.settings) }
    }
}

impl Dispatch {
    /// Begins to answer a request.
    pub(crate) fn answer<B>(&self, mut request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        let services = &*self.services;
        let call = call_of(request.headers(), services.settings.request_timeout);
        let path = request.uri().path();
        let service = path.get(1..).and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
        let is_etcd = services.etcd.is_some() && Etcd::has(service);
        if let Some(etcd) = services.etcd.as_ref().filter(|_| is_etcd) {
            let came_by = came_by(&request);
            let service = service.to_owned();
            let answer = etcd.call(&service, request, &self.peer, came_by);
            return Answer { answer, call, alarm: None, is_etcd };
        }
        let answer = match (service, &services.ext) {
            ("norikv.v1.Kv", _) => services.kv.clone().call(request),
            ("norikv.v1.Vector", _) => services.vector.clone().call(request),
            ("norikv.ext.v1.Store", Some(ext)) => ext.store.clone().call(request),
            ("norikv.ext.v1.Lease", Some(ext)) => {
                request.extensions_mut().insert(Arc::clone(&self.peer));
                ext.lease.clone().call(request)
            }
            ("norikv.ext.v1.Vectors", Some(ext)) => ext.vectors.clone().call(request),
            ("norikv.ext.v1.Watch", Some(ext)) if path == WATCH => {
                let within = request.extensions().get::<Within>().is_some();
                ext.watch.call(request, Arc::clone(&self.peer), call, within)
            }
            ("norikv.ext.v1.Streams", Some(ext)) => {
                let service = StreamsService {
                    dispatch: self.clone(),
                    sessions: Arc::clone(&ext.sessions),
                    phase: ext.watch.phase.clone(),
                    came_by: came_by(&request),
                };
                StreamsServer::new(service).max_decoding_message_size(STREAMS_BYTES).call(request)
            }
            ("norikv.v1.Meta", _) => {
                if let Some(came_by) = came_by(&request) {
                    request.extensions_mut().insert(came_by);
                }
                services.meta.clone().call(request)
            }
            ("grpc.health.v1.Health", _) => services.health.clone().call(request),
            _ => {
                let status = Status::unimplemented(format!("this server has no method {path}"));
                std::future::ready(Ok(status.into_http())).boxed()
            }
        };
        Answer { answer, call, alarm: None, is_etcd }
    }
}

/// The address that a request came by: HTTP/2 has it in the path, HTTP/1.1 in a header; a stream of a session is told.
fn came_by<B>(request: &Request<B>) -> Option<CameBy> {
    let told = || request.extensions().get::<CameBy>().cloned();
    let host = || request.headers().get(http::header::HOST)?.to_str().ok()?.parse().ok();
    request.uri().authority().cloned().or_else(host).map(CameBy).or_else(told)
}

/// The answer to a request, within its time. For a stream that is its beginning; the stream sees to the rest.
pub(crate) struct Answer {
    answer: BoxFuture<'static, Result<Response<Body>, Infallible>>,
    call: Call,
    /// Set when the answer is not there at once, as most are.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether who asked goes by what etcd says.
    is_etcd: bool,
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(Ok(response)) = self.answer.poll_unpin(cx) {
            let malformed = malformed(response.headers(), self.is_etcd);
            return Poll::Ready(Ok(malformed.map_or(response, Status::into_http)));
        }
        let deadline = self.call.deadline();
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
        ready!(alarm.poll_unpin(cx));
        let late = if self.is_etcd { etcd::timed_out() } else { status_of(self.call.deadline_exceeded()) };
        Poll::Ready(Ok(late.into_http()))
    }
}

/// The status for a request that could not be decoded, or was too large to be read at all.
///
/// The framework calls the one an internal error and the other out of range; to the protocol both are invalid
/// arguments. They are told from our own statuses by the details, which ours always have.
fn malformed(headers: &HeaderMap, is_etcd: bool) -> Option<Status> {
    let code = headers.get("grpc-status")?.as_bytes();
    if !matches!(Code::from_bytes(code), Code::Internal | Code::OutOfRange)
        || headers.contains_key("grpc-status-details-bin")
    {
        return None;
    }
    if is_etcd && Code::from_bytes(code) == Code::OutOfRange {
        return Some(etcd::too_large());
    }
    let status = Status::from_header_map(headers)?;
    Some(status_of(Error::invalid_argument(format!("the request cannot be read: {}", status.message()))))
}
