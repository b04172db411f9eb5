//! Calls to the members of a cluster: to one until it fails, then to the next.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use etcd_client::{Certificate, Client, ConnectOptions, Error as EtcdError, Identity, KvClient, TlsOptions};
use norikv_core::{Call, Error, ErrorKind, FieldName, Result};
use tokio::{
    runtime::Handle,
    sync::OnceCell,
    time::{sleep, timeout},
};

use crate::{
    error::{Failed, Reach, failed},
    settings::EtcdSettings,
};

/// How long it may take to connect to a member.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a member may take to answer a call that may be repeated, before another is asked.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How often a connection is probed, and how long the answer may take. Members end connections that probe more often.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// The largest reply: more than a page of the largest values that etcd takes by default.
pub(crate) const MAX_REPLY_BYTES: usize = 256 * 1024 * 1024;
/// How often all members are tried that cannot be reached.
const ROUNDS: u32 = 3;

/// What a call does, and so when it may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// It changes nothing.
    Read,
    /// Doing it twice is doing it once.
    Repeatable,
    /// It must not be done twice.
    Once,
}

/// An answer, and whether an attempt before it may have been carried out, too.
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    pub(crate) doubt: bool,
}

struct Endpoint {
    address: String,
    client: OnceCell<Client>,
    /// One whose streams end when the member has no leader.
    watcher: OnceCell<Client>,
    /// Whether its replies about progress come after the events that they speak of.
    in_order: OnceCell<bool>,
}

/// The members of a cluster.
pub(crate) struct Connection {
    /// Where connections live: on the runtime of whoever opened the store, and not on that of who made the first call, which may
    /// end before the store, or have no sockets at all.
    runtime: Option<Handle>,
    settings: EtcdSettings,
    endpoints: Vec<Endpoint>,
    current: AtomicUsize,
    retried: AtomicU64,
    closed: AtomicBool,
}

impl Connection {
    pub(crate) fn new(settings: EtcdSettings) -> Self {
        let endpoint = |address: &String| Endpoint {
            address: address.clone(),
            client: OnceCell::new(),
            watcher: OnceCell::new(),
            in_order: OnceCell::new(),
        };
        Self {
            runtime: Handle::try_current().ok(),
            endpoints: settings.endpoints.iter().map(endpoint).collect(),
            settings,
            // Clients that begin at different members share the load.
            current: AtomicUsize::new(fastrand::usize(..)),
            retried: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn settings(&self) -> &EtcdSettings {
        &self.settings
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Members that a connection was made to.
    pub(crate) fn connections(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.client.initialized()).count()
    }

    pub(crate) fn members(&self) -> usize {
        self.endpoints.len()
    }

    /// Asks the cluster's keys and values.
    pub(crate) async fn ask_kv<T, F, Fut>(&self, ask: Ask, call: Call, f: F) -> Result<Answer<T>>
    where
        F: Fn(KvClient) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        self.ask(ask, call, |client| f(client.kv_client().max_decoding_message_size(MAX_REPLY_BYTES))).await
    }

    /// Makes a call to one member, and to others if it fails and may be repeated, for as long as the call has time.
    ///
    /// # Errors
    /// `NoNodesAvailable` naming each member, if none can be reached; `Unavailable` with the outcome unknown for what may have
    /// been carried out; what the cluster refuses.
    pub(crate) async fn ask<T, F, Fut>(&self, ask: Ask, call: Call, f: F) -> Result<Answer<T>>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        let mut doubt = false;
        let mut attempts = 0;
        let mut unreachable: Vec<(String, String)> = Vec::new();
        loop {
            if self.is_closed() {
                return Err(Error::closed("the store"));
            }
            let at = self.current.load(Ordering::Relaxed) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(at) else {
                return Err(Error::invalid_argument("the address names no endpoint"));
            };
            attempts += 1;
            let made = self.attempt(endpoint, ask, call, &f).await;
            let Failed { reach, error, .. } = match made {
                Ok(value) => return Ok(Answer { value, doubt }),
                Err(failed) => failed,
            };
            let full = error.kind() == ErrorKind::ResourceExhausted;
            if reach == Reach::Refused && !full {
                return Err(error);
            }
            if reach == Reach::Sent && ask == Ask::Once {
                return Err(unknown(error));
            }
            doubt |= reach == Reach::Sent && ask != Ask::Read;
            if reach == Reach::NotSent {
                unreachable.retain(|(address, _)| *address != endpoint.address);
                unreachable.push((endpoint.address.clone(), error.message().to_owned()));
            }
            self.leave(at);
            let rounds = attempts / u32::try_from(self.endpoints.len()).unwrap_or(1);
            let none = unreachable.len() == self.endpoints.len();
            let delay = self.settings.retry.backoff.delay(rounds.max(1));
            let over = (none && rounds >= ROUNDS)
                || (full && attempts >= self.settings.retry.max_attempts)
                || delay >= call.remaining();
            if over {
                let error = if none { no_nodes(&unreachable) } else { error };
                return Err(if doubt { unknown(error) } else { error });
            }
            self.retried.fetch_add(1, Ordering::Relaxed);
            // The next member is asked at once; only when all have failed is there a pause.
            if (attempts as usize).is_multiple_of(self.endpoints.len()) || full {
                sleep(delay).await;
            }
        }
    }

    async fn attempt<T, F, Fut>(&self, endpoint: &Endpoint, ask: Ask, call: Call, f: &F) -> Result<T, Failed>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        let limit = if ask == Ask::Once { call.remaining() } else { call.remaining().min(ATTEMPT) };
        let attempt = async {
            let client = self.client(endpoint).await?;
            f(client).await
        };
        match timeout(limit, attempt).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failed(&endpoint.address, error)),
            Err(_) => Err(Failed {
                reach: Reach::Sent,
                error: Error::new(
                    ErrorKind::Unavailable,
                    format!("etcd at {} did not answer within {} ms", endpoint.address, limit.as_millis()),
                ),
            }),
        }
    }

    /// Turns to the next member, unless somebody else has.
    fn leave(&self, at: usize) {
        let current = self.current.load(Ordering::Relaxed);
        if current % self.endpoints.len() == at {
            let next = current.wrapping_add(1);
            let _ = self.current.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A client for streams, of the current member; and the member, to leave if the stream ends.
    ///
    /// # Errors
    /// What connecting says.
    pub(crate) async fn watcher(&self) -> Result<(Client, usize), Failed> {
        let at = self.current.load(Ordering::Relaxed) % self.endpoints.len().max(1);
        let Some(endpoint) = self.endpoints.get(at) else {
            let error = Error::invalid_argument("the address names no endpoint");
            return Err(Failed { reach: Reach::NotSent, error });
        };
        let connecting = endpoint.watcher.get_or_try_init(|| self.connect(endpoint, true));
        match timeout(CONNECT, connecting).await {
            Ok(Ok(client)) => Ok((client.clone(), at)),
            Ok(Err(error)) => Err(failed(&endpoint.address, error)),
            Err(_) => Err(Failed {
                reach: Reach::NotSent,
                error: Error::new(ErrorKind::Connection, format!("{} does not answer", endpoint.address)),
            }),
        }
    }

    /// Whether a member's replies to questions about a watch's progress come in order with its events. Before 3.4.25 and 3.5.8
    /// they overtook them (etcd's issue 15220), and whoever believed them lost events.
    pub(crate) async fn progress_in_order(&self, at: usize, client: &Client) -> bool {
        let Some(endpoint) = self.endpoints.get(at) else { return false };
        let ask = endpoint.in_order.get_or_try_init(|| async {
            let status = client.maintenance_client().status().await?;
            Ok::<_, EtcdError>(tells_progress_in_order(status.version()))
        });
        // Who does not say is not believed.
        ask.await.copied().unwrap_or(false)
    }

    /// Turns away from a member whose stream ended.
    pub(crate) fn leave_member(&self, at: usize) {
        self.leave(at);
    }

    /// The name of a member, for errors.
    pub(crate) fn address(&self, at: usize) -> &str {
        self.endpoints.get(at).map_or("etcd", |endpoint| &endpoint.address)
    }

    async fn client(&self, endpoint: &Endpoint) -> Result<Client, EtcdError> {
        endpoint.client.get_or_try_init(|| self.connect(endpoint, false)).await.cloned()
    }

    async fn connect(&self, endpoint: &Endpoint, require_leader: bool) -> Result<Client, EtcdError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(PROBE, PROBE_ANSWER)
            .with_keep_alive_while_idle(true)
            .with_require_leader(require_leader)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &self.settings.user {
            options = options.with_user(name, password);
        }
        let scheme = if let Some(tls) = &self.settings.tls {
            let mut encryption = TlsOptions::new();
            if let Some(ca) = &tls.ca {
                encryption = encryption.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &tls.identity {
                encryption = encryption.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = &tls.server_name {
                encryption = encryption.domain_name(name);
            }
            options = options.with_tls(encryption);
            "https"
        } else {
            "http"
        };
        let connecting = Client::connect([format!("{scheme}://{}", endpoint.address)], Some(options));
        match &self.runtime {
            Some(runtime) => runtime.spawn(connecting).await.map_err(std::io::Error::other)?,
            None => connecting.await,
        }
    }
}

fn tells_progress_in_order(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| {
        let digits = part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse::<u32>().ok()
    });
    let version = [numbers.next(), numbers.next(), numbers.next()].map(Option::unwrap_or_default);
    match version {
        [3, 4, patch] => patch >= 25,
        [3, 5, patch] => patch >= 8,
        _ => version >= [3, 6, 0],
    }
}

/// The error when no member can be reached: it names each.
fn no_nodes(unreachable: &[(String, String)]) -> Error {
    let each: Vec<&str> = unreachable.iter().map(|(_, why)| why.as_str()).collect();
    Error::new(
        ErrorKind::NoNodesAvailable,
        format!("no member of the etcd cluster can be reached: {}", each.join("; ")),
    )
}

/// The error of a write that may have been carried out.
pub(crate) fn unknown(error: Error) -> Error {
    let advice = "whether the write took place is not known: read the key before deciding again, or write with an idempotencyKey, which makes a repeat safe";
    Error::new(ErrorKind::Unavailable, format!("{}; {advice}", error.message()))
        .with(FieldName::Outcome, "unknown")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_told_progress_too_early_are_known_by_their_version() {
        for (version, in_order) in [
            ("3.3.27", false),
            ("3.4.23", false),
            ("3.4.25", true),
            ("3.5.7", false),
            ("3.5.8", true),
            ("3.5.21-rc.1", true),
            ("3.6.0", true),
            ("4.0.0", true),
            ("", false),
            ("main", false),
        ] {
            assert_eq!(tells_progress_in_order(version), in_order, "{version}");
        }
    }
}
