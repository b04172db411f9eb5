use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// A direction through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: answers.
    ToClient,
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Connections made before this are cut.
    cuts: u64,
    /// Each way: how many more bytes pass before the connection that carries the next one is cut.
    cut_after: [Option<u64>; 2],
    /// Each way: what comes is held back, as if the network swallowed it.
    held: [bool; 2],
    /// Each way: ended, while the other way goes on.
    halved: [bool; 2],
    /// How long everything takes.
    delay: Duration,
    /// New connections are closed at once.
    refuses: bool,
}

/// A network between a client and a server, which can be made to fail.
///
/// It listens on a port of its own on this machine. All of it ends when it is dropped.
pub struct Proxy {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    accepts: AbortHandle,
}

struct Shared {
    target: Mutex<SocketAddr>,
    faults: watch::Sender<Faults>,
    open: AtomicUsize,
    made: AtomicUsize,
}

impl Proxy {
    /// A proxy before a server. Its connections run on the runtime that calls this.
    ///
    /// # Errors
    /// If there is no port to listen on.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((target.ip(), 0)).await?;
        let local_addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            faults: watch::Sender::new(Faults::default()),
            open: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
        });
        let accepts = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { local_addr, shared, accepts })
    }

    /// Where clients come to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many connections pass through it now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// How many connections were made through it so far.
    #[must_use]
    pub fn connections_made(&self) -> usize {
        self.shared.made.load(Ordering::Acquire)
    }

    /// New connections go to another server.
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.change(|faults| faults.cuts += 1);
    }

    /// Cuts the connection that carries the byte after the next `bytes` of this way, once.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.change(|faults| faults.cut_after[way as usize] = Some(bytes));
    }

    /// Lets everything take this much longer, each way.
    pub fn delay(&self, delay: Duration) {
        self.change(|faults| faults.delay = delay);
    }

    /// Holds back what goes this way. Nobody is told: the connections stay open.
    pub fn hold(&self, way: Way) {
        self.change(|faults| faults.held[way as usize] = true);
    }

    /// Holds back everything, both ways, also of new connections: a peer that is gone without a word.
    pub fn blackhole(&self) {
        self.change(|faults| faults.held = [true; 2]);
    }

    /// Ends one way of every connection, while the other goes on.
    pub fn halve(&self, way: Way) {
        self.change(|faults| faults.halved[way as usize] = true);
    }

    /// Closes new connections at once.
    pub fn refuse(&self) {
        self.change(|faults| faults.refuses = true);
    }

    /// Everything passes again. What was held back comes now, where its connection still is.
    pub fn heal(&self) {
        self.change(|faults| *faults = Faults { cuts: faults.cuts, ..Faults::default() });
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        // Connections end with the cut, whatever runtime they are on.
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(carry(client, Arc::clone(&shared)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until one side ends it or it is cut.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    let Faults { cuts: begun, refuses, .. } = *faults.borrow_and_update();
    if refuses {
        return reset(&client);
    }
    let target = *lock(&shared.target);
    let Ok(server) = TcpStream::connect(target).await else { return reset(&client) };
    let _open = Open::new(&shared);
    for stream in [&client, &server] {
        // A proxy that gathers small writes would hide what a client does.
        let _ = stream.set_nodelay(true);
        reset(stream);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pass(from_client, to_server, Way::ToServer, begun, &shared);
    let back = pass(from_server, to_client, Way::ToClient, begun, &shared);
    tokio::select! {
        _ = faults.wait_for(|faults| faults.cuts > begun) => {}
        _ = async { tokio::try_join!(there, back) } => {}
    }
}

/// Makes the end of the socket a reset, as of a peer that died.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

struct Cut;

/// Carries one way of a connection that was made after so many cuts, to its end.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    begun: u64,
    shared: &Shared,
) -> Result<(), Cut> {
    let mut faults = shared.faults.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.map_err(|_| Cut)?,
            _ = faults.wait_for(|faults| faults.halved[way as usize]) => 0,
        };
        let delay = faults.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // What was held back does not slip out when a cut is followed by healing: both show at once.
        match faults.wait_for(|faults| faults.cuts > begun || !faults.held[way as usize]).await {
            Ok(faults) if faults.cuts == begun => {}
            _ => return Err(Cut),
        }
        let (passes, cut) = shared.take(way, read);
        to.write_all(&buffer[..passes]).await.map_err(|_| Cut)?;
        if cut {
            return Err(Cut);
        }
        if read == 0 {
            // An end is passed on as such: the linger makes only the end of both ways a reset.
            to.shutdown().await.map_err(|_| Cut)?;
            return Ok(());
        }
    }
}

impl Shared {
    /// How many of these bytes pass, and whether the connection is cut after them.
    fn take(&self, way: Way, bytes: usize) -> (usize, bool) {
        let mut result = (bytes, false);
        self.faults.send_if_modified(|faults| {
            let Some(left) = &mut faults.cut_after[way as usize] else { return false };
            match usize::try_from(*left) {
                Ok(left) if left < bytes => {
                    result = (left, true);
                    faults.cut_after[way as usize] = None;
                }
                _ => *left -= bytes as u64,
            }
            false
        });
        result
    }
}

/// Counts a connection while it lasts.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.open.fetch_add(1, Ordering::AcqRel);
        shared.made.fetch_add(1, Ordering::AcqRel);
        Self(&shared.open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
