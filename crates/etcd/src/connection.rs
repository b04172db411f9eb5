//! Calls to the members of a cluster: to one until it fails, then to the next.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{
    AlarmAction, AlarmType, Channel as EtcdChannel, Client, ConnectOptions, Error as EtcdError, KvClient,
};
use norikv_core::{Call, Error, ErrorKind, FieldName, Result};
use norikv_tls::{ClientTls, Connector};
use tokio::{
    runtime::Handle,
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};
use tonic::Code;

use crate::{
    channel::{CONNECT, Heard, channel, faulty},
    error::{Failed, Reach, failed},
    settings::EtcdSettings,
};

/// How long a member may take to answer before another is asked, where that may be.
const ATTEMPT: Duration = Duration::from_secs(2);
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

/// Why there is no answer, and whether an attempt may have been carried out.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: Error,
    pub(crate) doubt: bool,
}

struct Endpoint {
    address: String,
    heard: Arc<Heard>,
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
    tls: Option<Connector>,
    endpoints: Vec<Endpoint>,
    current: AtomicUsize,
    retried: AtomicU64,
    closed: AtomicBool,
}

impl Connection {
    /// # Errors
    /// `InvalidArgument` for certificates that cannot be used.
    pub(crate) fn new(settings: EtcdSettings) -> Result<Self> {
        let tls = settings.tls.as_ref().map(ClientTls::connector).transpose()?;
        let endpoint = |address: &String| Endpoint {
            address: address.clone(),
            heard: Arc::default(),
            client: OnceCell::new(),
            watcher: OnceCell::new(),
            in_order: OnceCell::new(),
        };
        Ok(Self {
            runtime: Handle::try_current().ok(),
            endpoints: settings.endpoints.iter().map(endpoint).collect(),
            settings,
            tls,
            // Clients that begin at different members share the load.
            current: AtomicUsize::new(fastrand::usize(..)),
            retried: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
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
        let asked = self.ask_in_doubt(ask, call, f).await;
        asked.map_err(|Unanswered { error, doubt }| if doubt { unknown(error) } else { error })
    }

    /// The same for who can find out whether an attempt was carried out.
    pub(crate) async fn ask_in_doubt<T, F, Fut>(
        &self,
        ask: Ask,
        call: Call,
        f: F,
    ) -> Result<Answer<T>, Unanswered>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        let mut doubt = false;
        let mut attempts = 0;
        let mut unreachable: Vec<(String, String)> = Vec::new();
        // Whether some attempt failed in a way that may pass by itself.
        let mut passing = false;
        loop {
            if self.is_closed() {
                return Err(Unanswered { error: Error::closed("the store"), doubt });
            }
            let at = self.current.load(Ordering::Relaxed) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(at) else {
                let error = Error::invalid_argument("the address names no endpoint");
                return Err(Unanswered { error, doubt });
            };
            attempts += 1;
            let made = self.attempt(at, endpoint, ask, call, &f).await;
            let failed = match made {
                Ok(value) => return Ok(Answer { value, doubt }),
                Err(failed) => failed,
            };
            passing |= !failed.lasts();
            let Failed { mut reach, error, .. } = failed;
            // Of what must not be done twice, nothing reads an old version: it was done, and its reply was too large.
            if ask == Ask::Once && error.kind() == ErrorKind::Compacted {
                reach = Reach::Sent;
            }
            let full = error.kind() == ErrorKind::ResourceExhausted;
            if reach == Reach::Refused && !full {
                return Err(Unanswered { error, doubt });
            }
            self.leave(at);
            doubt |= reach == Reach::Sent && ask != Ask::Read;
            if doubt && ask == Ask::Once {
                return Err(Unanswered { error, doubt });
            }
            if full && self.has_no_space(endpoint, call).await {
                return Err(Unanswered { error: no_space(error), doubt });
            }
            if reach == Reach::NotSent {
                unreachable.retain(|(address, _)| *address != endpoint.address);
                unreachable.push((endpoint.address.clone(), error.message().to_owned()));
            }
            let rounds = attempts / u32::try_from(self.endpoints.len()).unwrap_or(1);
            let none = unreachable.len() == self.endpoints.len();
            let delay = self.settings.retry.backoff.delay(rounds.max(1));
            let over = (none && (rounds >= ROUNDS || !passing))
                || (full && attempts >= self.settings.retry.max_attempts)
                || delay >= call.remaining();
            if over {
                // One member alone has said it itself, where it is more than that it is not there.
                let said = unreachable.len() == 1 && !passing;
                let error = if none && !said { no_nodes(&unreachable) } else { error };
                return Err(Unanswered { error, doubt });
            }
            self.retried.fetch_add(1, Ordering::Relaxed);
            // The next member is asked at once; only when all have failed is there a pause.
            if (attempts as usize).is_multiple_of(self.endpoints.len()) || full {
                sleep(delay).await;
            }
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        at: usize,
        endpoint: &Endpoint,
        ask: Ask,
        call: Call,
        f: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        let patience = self.patience(ask, call);
        let begun = Instant::now();
        let client = match timeout(patience, self.client(endpoint)).await {
            Ok(client) => client?,
            Err(_) => return Err(silent(endpoint, patience, Reach::NotSent)),
        };
        let asking = async {
            let failed = match f(client.clone()).await {
                Ok(value) => return Ok(value),
                Err(error) => failed(&endpoint.address, error),
            };
            if failed.reach != Reach::Refused || failed.error.kind() != ErrorKind::InvalidArgument {
                return Err(failed);
            }
            // So etcd also refuses who gave no name, and whose token is of the time before a role was changed.
            match self.let_in(&client, endpoint).await {
                Ok(true) => f(client).await.map_err(|error| crate::error::failed(&endpoint.address, error)),
                Ok(false) => Err(failed),
                Err(outside) => Err(outside),
            }
        };
        let mut asking = pin!(asking);
        let left = patience.saturating_sub(begun.elapsed());
        let (mut limit, mut made) = (patience, timeout(left, &mut asking).await);
        if made.is_err() && ask == Ask::Once {
            // It cannot be asked of another, but nobody else has to wait for this one.
            self.leave(at);
            limit += call.remaining();
            made = timeout(call.remaining(), asking).await;
        }
        match made {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failed)) => Err(self.understood(endpoint, failed).await),
            Err(_) => Err(self.understood(endpoint, silent(endpoint, limit, Reach::Sent)).await),
        }
    }

    /// What failed was never sent if the member was never understood, as one that speaks TLS is not without it.
    async fn understood(&self, endpoint: &Endpoint, failed: Failed) -> Failed {
        if failed.reach != Reach::Sent {
            return failed;
        }
        if self.tls.is_none() {
            endpoint.heard.ask_for_tls(&endpoint.address).await;
        }
        match endpoint.heard.fault() {
            Some(fault) => Failed { reach: Reach::NotSent, error: faulty(&endpoint.address, fault) },
            None => failed,
        }
    }

    /// Whether the cluster knows its user anew. `false` if it asks for none, so that something else was wrong.
    async fn let_in(&self, client: &Client, endpoint: &Endpoint) -> Result<bool, Failed> {
        let known = match &self.settings.user {
            Some(_) => client.refresh_token().await.map(|()| true),
            // Nobody is called so. A cluster that has no users says something else than one that does not know this one.
            None => client.clone().update_user(Some(Default::default())).await.map(|()| true),
        };
        match known {
            Err(EtcdError::GRpcStatus(status)) if status.code() == Code::InvalidArgument => {
                Err(self.outside(endpoint))
            }
            Err(_) => Ok(false),
            Ok(known) => Ok(known),
        }
    }

    /// The error of who is not let in.
    fn outside(&self, endpoint: &Endpoint) -> Failed {
        let text = match &self.settings.user {
            Some((name, _)) => format!(
                "etcd at {} does not let {name:?} in: there is no such user, or the password is another",
                endpoint.address
            ),
            None => format!(
                "etcd at {} asks for a user; give the user and the password: etcd://user:password@host:2379, or as options",
                endpoint.address
            ),
        };
        let error =
            Error::new(ErrorKind::Unauthenticated, text).with(FieldName::Address, endpoint.address.as_str());
        Failed { reach: Reach::Refused, error }
    }

    /// How long one member may take for a call, so that there is time left for others.
    fn patience(&self, ask: Ask, call: Call) -> Duration {
        let left = call.remaining();
        match (ask, self.endpoints.len()) {
            (_, 1) => left.min(ATTEMPT),
            (Ask::Read, _) => (left / 3).min(ATTEMPT),
            // What may have been carried out is in doubt from then on.
            (Ask::Repeatable | Ask::Once, _) => (left / 2).min(ATTEMPT),
        }
    }

    /// Whether the cluster takes no writes because its database is as large as it may be. It says so with the code that it
    /// has for too many requests, too, which pass.
    async fn has_no_space(&self, endpoint: &Endpoint, call: Call) -> bool {
        let asked = async {
            let client = self.client(endpoint).await.ok()?;
            client.maintenance_client().alarm(AlarmAction::Get, AlarmType::Nospace, None).await.ok()
        };
        let alarms = timeout(call.remaining().min(CONNECT), asked).await.ok().flatten();
        alarms.is_some_and(|alarms| alarms.alarms().iter().any(|alarm| alarm.alarm() == AlarmType::Nospace))
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
        let failed = match timeout(CONNECT, connecting).await {
            Ok(Ok(client)) => return Ok((client.clone(), at)),
            Ok(Err(failed)) => failed,
            Err(_) => silent(endpoint, CONNECT, Reach::NotSent),
        };
        self.leave(at);
        Err(failed)
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

    async fn client(&self, endpoint: &Endpoint) -> Result<Client, Failed> {
        endpoint.client.get_or_try_init(|| self.connect(endpoint, false)).await.cloned()
    }

    async fn connect(&self, endpoint: &Endpoint, require_leader: bool) -> Result<Client, Failed> {
        let (tls, user) = (self.tls.clone(), self.settings.user.clone());
        let opening = open(endpoint.address.clone(), tls, Arc::clone(&endpoint.heard), user, require_leader);
        let opened = match &self.runtime {
            Some(runtime) => match runtime.spawn(opening).await {
                Ok(opened) => opened,
                Err(error) => Err(Unopened::Failed(std::io::Error::other(error).into())),
            },
            None => opening.await,
        };
        match opened {
            Ok(client) => Ok(client),
            Err(Unopened::Outside) => Err(self.outside(endpoint)),
            Err(Unopened::Address(error)) => Err(Failed { reach: Reach::NotSent, error }),
            Err(Unopened::Failed(error)) => {
                let failed = self.understood(endpoint, failed(&endpoint.address, error)).await;
                // Of the call itself, nothing has left.
                let reach = if failed.reach == Reach::Sent { Reach::NotSent } else { failed.reach };
                Err(Failed { reach, ..failed })
            }
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

/// Why there is no client of a member.
enum Unopened {
    /// It does not know the user, or the password is another.
    Outside,
    Address(Error),
    Failed(EtcdError),
}

/// A client of a member, that has said who it is.
async fn open(
    address: String,
    tls: Option<Connector>,
    heard: Arc<Heard>,
    user: Option<(String, String)>,
    require_leader: bool,
) -> Result<Client, Unopened> {
    let channel = channel(&address, tls.as_ref(), &heard).map_err(Unopened::Address)?;
    let options = ConnectOptions::new().with_require_leader(require_leader).with_auto_token_refresh(true);
    let connect = |options| Client::from_channel(EtcdChannel::Tonic(channel.clone()), Some(options));
    if let Some((name, password)) = user {
        match connect(options.clone().with_user(name, password)).await {
            Err(EtcdError::GRpcStatus(status)) if status.code() == Code::InvalidArgument => {
                return Err(Unopened::Outside);
            }
            // A cluster that asks nobody who they are; etcd's own clients go on, too.
            Err(EtcdError::GRpcStatus(status)) if status.code() == Code::FailedPrecondition => {}
            connected => return connected.map_err(Unopened::Failed),
        }
    }
    connect(options).await.map_err(Unopened::Failed)
}

/// The error of a member that does not answer.
fn silent(endpoint: &Endpoint, limit: Duration, reach: Reach) -> Failed {
    let text = format!("etcd at {} did not answer within {} ms", endpoint.address, limit.as_millis());
    let kind = if reach == Reach::NotSent { ErrorKind::Connection } else { ErrorKind::Unavailable };
    let error = Error::new(kind, text).with(FieldName::Address, endpoint.address.as_str());
    Failed { reach, error }
}

/// The error when no member can be reached: it names each.
fn no_nodes(unreachable: &[(String, String)]) -> Error {
    let each: Vec<&str> = unreachable.iter().map(|(_, why)| why.as_str()).collect();
    Error::new(
        ErrorKind::NoNodesAvailable,
        format!("no member of the etcd cluster can be reached: {}", each.join("; ")),
    )
}

/// The error of a write to a cluster whose database is full.
fn no_space(error: Error) -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "the database of the etcd cluster is at its quota, and it takes no writes: delete what is not needed, compact the history, run `etcdctl defrag` on each member and `etcdctl alarm disarm`, or start the members with a larger --quota-backend-bytes ({})",
            error.message()
        ),
    )
    .caused_by(error)
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
