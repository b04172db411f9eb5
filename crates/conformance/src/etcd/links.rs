use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::lock;
use crate::Proxy;

/// More than the head of a request of one member to another.
const MOST_HEAD: usize = 16 * 1024;

/// The ways between the members: one for each pair and direction, so that one member can be cut off from the others.
///
/// All members know another by one address, that of its [`Door`], which finds out who comes: by the process that has the
/// other end, where the system tells, and by what is said first.
pub(crate) struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    /// The process of each member.
    processes: Mutex<HashMap<usize, i32>>,
    /// Which member is behind a door.
    doors: Mutex<HashMap<SocketAddr, usize>>,
    /// By who comes and who is gone to.
    pairs: Vec<Vec<Proxy>>,
    /// By who is gone to: for whom did not say who comes.
    anyone: Vec<Proxy>,
    isolated: Mutex<Vec<bool>>,
}

/// Where the others reach a member.
pub(crate) struct Door {
    local_addr: SocketAddr,
    accepts: AbortHandle,
}

impl Door {
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

impl Links {
    pub(crate) async fn new(peers: &[SocketAddr]) -> io::Result<Self> {
        let mut pairs = Vec::new();
        for _ in peers {
            let mut ways = Vec::new();
            for to in peers {
                ways.push(Proxy::start(*to).await?);
            }
            pairs.push(ways);
        }
        let mut anyone = Vec::new();
        for to in peers {
            anyone.push(Proxy::start(*to).await?);
        }
        let isolated = Mutex::new(vec![false; peers.len()]);
        let (processes, doors) = (Mutex::default(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { processes, doors, pairs, anyone, isolated }) })
    }

    pub(crate) async fn door(&self, to: usize) -> io::Result<Door> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let local_addr = listener.local_addr()?;
        let shared = Arc::clone(&self.shared);
        lock(&shared.doors).insert(local_addr, to);
        let accepts = tokio::spawn(async move {
            // Aborted with this task.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((comes, _)) = accepted {
                        connections.spawn(lead(comes, to, Arc::clone(&shared)));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Door { local_addr, accepts: accepts.abort_handle() })
    }

    /// Tells which process a member is.
    pub(crate) fn know(&self, member: usize, process: i32) {
        lock(&self.shared.processes).insert(member, process);
    }

    pub(crate) fn is_isolated(&self, member: usize) -> bool {
        lock(&self.shared.isolated)[member]
    }

    /// Nothing that a member says reaches another, and nothing that they say reaches it.
    pub(crate) fn isolate(&self, member: usize) {
        lock(&self.shared.isolated)[member] = true;
        let Shared { pairs, anyone, .. } = &*self.shared;
        for (from, ways) in pairs.iter().enumerate() {
            for (to, way) in ways.iter().enumerate() {
                if from == member || to == member {
                    way.blackhole();
                }
            }
        }
        // Who these are from is not known.
        for way in anyone {
            way.refuse();
            way.cut();
        }
    }

    pub(crate) fn heal(&self) {
        lock(&self.shared.isolated).fill(false);
        let Shared { pairs, anyone, .. } = &*self.shared;
        for way in pairs.iter().flatten().chain(anyone) {
            way.heal();
        }
    }
}

/// Leads a connection to the way of who comes.
async fn lead(mut comes: TcpStream, to: usize, shared: Arc<Shared>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MOST_HEAD {
        if comes.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let said = sender(&head).and_then(|door| lock(&shared.doors).get(&door).copied());
    let from = said.or_else(|| {
        let processes = lock(&shared.processes);
        owner(&comes, processes.iter()).ok().flatten()
    });
    let way = from.map_or(&shared.anyone[to], |from| &shared.pairs[from][to]).local_addr();
    let mut goes = TcpStream::connect(way).await?;
    for stream in [&comes, &goes] {
        stream.set_nodelay(true)?;
    }
    goes.write_all(&head).await?;
    copy_bidirectional(&mut comes, &mut goes).await?;
    Ok(())
}

/// The member whose process has the other end of a connection. Only Linux tells.
fn owner<'a>(
    comes: &TcpStream,
    processes: impl Iterator<Item = (&'a usize, &'a i32)>,
) -> io::Result<Option<usize>> {
    let ends = [comes.peer_addr()?, comes.local_addr()?].map(|end| format!(":{:04X}", end.port()));
    let table = fs::read_to_string("/proc/net/tcp")?;
    let inode = table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_end = words.next()?.ends_with(&ends[0]) && words.next()?.ends_with(&ends[1]);
        if is_end { words.nth(6) } else { None }
    });
    let Some(inode) = inode else { return Ok(None) };
    let socket = format!("socket:[{inode}]");
    for (member, process) in processes {
        // One may have ended.
        let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { continue };
        if files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket))
        {
            return Ok(Some(*member));
        }
    }
    Ok(None)
}

/// The door of the member that a request is from.
fn sender(head: &[u8]) -> Option<SocketAddr> {
    let head = std::str::from_utf8(head).ok()?;
    let urls = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-peerurls").then(|| value.trim())
    })?;
    urls.strip_prefix("http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::sender;

    #[test]
    fn a_request_says_which_member_it_is_from() {
        let head =
            b"GET /raft/stream/message/1 HTTP/1.1\r\nHost: a\r\nX-Peerurls: http://127.0.0.1:7\r\n\r\n";
        assert_eq!(sender(head), Some(([127, 0, 0, 1], 7).into()));
        assert_eq!(sender(b"GET /raft/probing HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    }
}
