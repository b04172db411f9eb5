//! Real clusters of etcd, whose members can be killed, paused and cut off.

mod links;
mod process;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use etcd_client::{Client, ConnectOptions, GetOptions, StatusResponse};
use links::{Door, Links};
use norikv_core::{Error, ErrorKind, Result};
use process::Process;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::Proxy;

/// Longer than a cluster takes to have a leader that everybody follows.
const SOON: Duration = Duration::from_secs(30);
/// How long a member may take to say something of itself.
const ANSWER: Duration = Duration::from_secs(1);

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// How many members it has.
    pub members: usize,
    /// How often a leader tells that it is there.
    pub heartbeat: Duration,
    /// How long a member hears of no leader until it wants to be one.
    pub election: Duration,
    /// Further flags of each member: `--quota-backend-bytes=…`.
    pub flags: Vec<String>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            members: 3,
            // etcd's own: less, and a slow disk makes leaders change.
            heartbeat: Duration::from_millis(100),
            election: Duration::from_secs(1),
            flags: Vec::new(),
        }
    }
}

/// A cluster of real etcd members on loopback, in directories of their own.
///
/// Clients reach each member through a [`Proxy`], and members each other through one for each way. All members end with
/// it, and with the process that has it.
pub struct EtcdCluster {
    options: EtcdOptions,
    members: Vec<Member>,
    links: Links,
    directory: TempDir,
}

struct Member {
    name: String,
    /// Where it takes calls of clients.
    client: SocketAddr,
    /// Where it takes what other members say.
    peer: SocketAddr,
    /// What clients come through.
    proxy: Proxy,
    /// What other members come through.
    door: Door,
    process: Mutex<Option<Process>>,
    /// Its number in the cluster.
    id: Mutex<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(what: impl Into<String>) -> Error {
    Error::internal(what.into())
}

fn no_proxy(error: io::Error) -> Error {
    broken("a proxy cannot listen").caused_by(error)
}

/// So many addresses whose ports are free, and what holds them until it is dropped: nothing else that listens gets one of them.
fn free_addresses(host: Ipv4Addr, count: usize) -> io::Result<(Vec<SocketAddr>, Vec<TcpListener>)> {
    let held = (0..count).map(|_| TcpListener::bind((host, 0))).collect::<io::Result<Vec<_>>>()?;
    Ok((held.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?, held))
}

/// Where outgoing connections take no ports, where a system has more than one address for itself.
fn own_host() -> Ipv4Addr {
    if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..255))
    } else {
        Ipv4Addr::LOCALHOST
    }
}

impl EtcdCluster {
    /// Starts a cluster, and waits until all of its members follow one leader.
    ///
    /// # Errors
    /// If there is no etcd on the `PATH`, or it does not begin.
    pub async fn start(options: EtcdOptions) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(no_proxy)?;
        let (mut clients, held) = free_addresses(own_host(), 2 * options.members).map_err(no_proxy)?;
        let peers = clients.split_off(options.members);
        let links = Links::new(&peers).await.map_err(no_proxy)?;
        let mut members = Vec::new();
        for (at, (client, peer)) in clients.into_iter().zip(peers).enumerate() {
            members.push(Member {
                name: format!("member{at}"),
                client,
                peer,
                proxy: Proxy::start(client).await.map_err(no_proxy)?,
                door: links.door(at).await.map_err(no_proxy)?,
                process: Mutex::new(None),
                id: Mutex::new(0),
            });
        }
        // The proxies have ports of their own by now.
        drop(held);
        let cluster = Self { options, members, links, directory };
        for at in 0..cluster.len() {
            cluster.spawn(at)?;
        }
        cluster.healthy().await?;
        for at in 0..cluster.len() {
            let id = cluster.status(at).await?.header().map_or(0, etcd_client::ResponseHeader::member_id);
            *lock(&cluster.members[at].id) = id;
        }
        Ok(cluster)
    }

    /// How many members it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where clients reach each member.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.proxy.local_addr().to_string()).collect()
    }

    /// Where clients reach all members: `etcd://host:port,host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("etcd://{}", self.endpoints().join(","))
    }

    /// Where clients reach one member, and know of no other.
    #[must_use]
    pub fn address_of(&self, member: usize) -> String {
        format!("etcd://{}", self.members[member].proxy.local_addr())
    }

    /// What clients reach a member through.
    #[must_use]
    pub fn proxy(&self, member: usize) -> &Proxy {
        &self.members[member].proxy
    }

    /// A client of one member, past the proxy.
    ///
    /// # Errors
    /// etcd's.
    pub async fn client(&self, member: usize) -> Result<Client> {
        let address = self.members[member].client.to_string();
        let options = ConnectOptions::new().with_connect_timeout(ANSWER);
        Client::connect([address], Some(options)).await.map_err(|error| {
            Error::new(ErrorKind::Connection, format!("member {member} cannot be reached")).caused_by(error)
        })
    }

    /// `kill -9`, whatever it does. Its data stays.
    pub fn kill(&self, member: usize) {
        // Ended when it is dropped.
        lock(&self.members[member].process).take();
    }

    /// Starts a member that was killed, on its data. It is not waited for.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn restart(&self, member: usize) -> Result<()> {
        self.kill(member);
        self.spawn(member)
    }

    /// Stops a member in what it does. Its connections stay, and nobody is told.
    pub fn pause(&self, member: usize) {
        if let Some(process) = &mut *lock(&self.members[member].process) {
            process.pause();
        }
    }

    /// Lets a paused member go on.
    pub fn resume(&self, member: usize) {
        if let Some(process) = &mut *lock(&self.members[member].process) {
            process.resume();
        }
    }

    /// Cuts a member off from the others. Clients still reach it.
    pub fn isolate(&self, member: usize) {
        self.links.isolate(member);
    }

    /// Cuts a member off from its clients. The others still reach it.
    pub fn hide(&self, member: usize) {
        self.proxy(member).blackhole();
    }

    /// All members reach each other again, and are reached by their clients.
    pub fn heal(&self) {
        self.links.heal();
        for member in &self.members {
            member.proxy.heal();
        }
    }

    /// The member that says that it leads, if one does.
    pub async fn leader(&self) -> Option<usize> {
        for at in 0..self.len() {
            // One that is cut off may believe that it leads.
            if !self.is_there(at) {
                continue;
            }
            let Ok(status) = self.status(at).await else { continue };
            let led = self.members.iter().position(|member| *lock(&member.id) == status.leader());
            // Until the others notice, they follow one that is gone.
            if led.is_some_and(|led| self.is_there(led)) {
                return led;
            }
        }
        None
    }

    /// Whether a member runs, and the others reach it.
    fn is_there(&self, member: usize) -> bool {
        let runs = lock(&self.members[member].process).as_ref().is_some_and(|process| !process.is_paused());
        runs && !self.links.is_isolated(member)
    }

    /// The member that leads, as soon as there is one that is not cut off.
    ///
    /// # Errors
    /// If none begins to lead.
    pub async fn some_leader(&self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            match self.leader().await {
                Some(leader) => return Ok(leader),
                _ if begun.elapsed() > SOON => return Err(broken("no member of etcd began to lead")),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Makes another member lead.
    ///
    /// # Errors
    /// If the cluster does not.
    pub async fn move_leader(&self, to: usize) -> Result<()> {
        let begun = Instant::now();
        let id = *lock(&self.members[to].id);
        loop {
            let leader = self.some_leader().await?;
            if leader == to {
                return Ok(());
            }
            let client = self.client(leader).await?;
            let moved = timeout(SOON, client.maintenance_client().move_leader(id)).await;
            match moved {
                Ok(Ok(_)) => return Ok(()),
                // Meanwhile another leads, or the one to lead is behind.
                _ if begun.elapsed() > SOON => return Err(broken("the leader of etcd does not give it up")),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until every member that runs and is not cut off follows one leader and answers a read of it.
    ///
    /// # Errors
    /// If that does not come.
    pub async fn healthy(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut leaders = Vec::new();
            for (at, member) in self.members.iter().enumerate() {
                let process = lock(&member.process).as_ref().map(Process::has_ended);
                match process {
                    // Another took its port, or it is not there at all.
                    Some(true) => self.spawn(at)?,
                    Some(false) if self.is_there(at) => {}
                    _ => continue,
                }
                leaders.push(self.followed_by(at).await);
            }
            if leaders.first().is_some_and(Option::is_some)
                && leaders.iter().all(|leader| *leader == leaders[0])
            {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                let said = std::fs::read_to_string(self.log(0)).unwrap_or_default();
                return Err(broken(format!(
                    "etcd has no leader that all follow; it has to be on the PATH (Debian, Ubuntu: apt-get install -y etcd-server); the first member said: {said}"
                )));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Who leads, as a member has it that reads what is newest.
    async fn followed_by(&self, member: usize) -> Option<u64> {
        let leader = self.status(member).await.ok()?.leader();
        let client = self.client(member).await.ok()?;
        let read = client.kv_client().get("health", Some(GetOptions::new().with_count_only())).await;
        (read.is_ok() && leader != 0).then_some(leader)
    }

    /// What a member says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self, member: usize) -> Result<StatusResponse> {
        let asked =
            async { self.client(member).await?.maintenance_client().status().await.map_err(unhealthy) };
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(broken("a member of etcd does not answer")))
    }

    /// What a member said.
    fn log(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("{}.log", self.members[at].name))
    }

    fn spawn(&self, at: usize) -> Result<()> {
        let member = &self.members[at];
        let url = |address: SocketAddr| format!("http://{address}");
        let cluster: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}={}", member.name, url(member.door.local_addr())))
            .collect();
        let data = self.directory.path().join(&member.name);
        let mut arguments: Vec<String> = [
            ("name", member.name.clone()),
            ("data-dir", data.display().to_string()),
            ("listen-client-urls", url(member.client)),
            ("advertise-client-urls", url(member.proxy.local_addr())),
            ("listen-peer-urls", url(member.peer)),
            ("initial-advertise-peer-urls", url(member.door.local_addr())),
            ("initial-cluster", cluster.join(",")),
            ("heartbeat-interval", self.options.heartbeat.as_millis().to_string()),
            ("election-timeout", self.options.election.as_millis().to_string()),
            ("log-level", "warn".to_owned()),
            ("logger", "zap".to_owned()),
            ("log-outputs", "stderr".to_owned()),
        ]
        .into_iter()
        .map(|(flag, value)| format!("--{flag}={value}"))
        .collect();
        arguments.extend(self.options.flags.iter().cloned());
        let process = Process::start("etcd", &arguments, &self.log(at))
            .map_err(|error| broken("etcd cannot be started; it has to be on the PATH").caused_by(error))?;
        self.links.know(at, process.id());
        *lock(&member.process) = Some(process);
        Ok(())
    }
}

fn unhealthy(error: etcd_client::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "a member of etcd does not answer").caused_by(error)
}
