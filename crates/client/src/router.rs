use std::{collections::HashMap, sync::Arc};

use norikv_core::{ClusterView, NodeAddress, jump_consistent_hash};

use crate::{
    node::{Node, NodeState},
    transport::Transport,
};

/// The most nodes that are kept: a bound on what a confused server can make of us.
const MAX_NODES: usize = 1_024;

/// The nodes there are, and which of them a key's calls go to.
pub(crate) struct Router<T: Transport> {
    total_shards: u32,
    nodes: Vec<Option<NodeState<T>>>,
    by_address: HashMap<NodeAddress, usize>,
    configured: Vec<usize>,
    /// Every node that calls may go to: the configured ones first.
    ring: Vec<usize>,
    /// Whether the configured ones are reached with TLS: what is told of others does not say.
    tls: bool,
    /// The nodes of the view by their id.
    ids: HashMap<String, usize>,
    /// The leader of each shard, where known; empty if none is.
    leaders: Vec<Option<usize>>,
}

impl<T: Transport> Router<T> {
    pub(crate) fn new(total_shards: u32) -> Self {
        Self {
            total_shards,
            nodes: Vec::new(),
            by_address: HashMap::new(),
            configured: Vec::new(),
            ring: Vec::new(),
            tls: false,
            ids: HashMap::new(),
            leaders: Vec::new(),
        }
    }

    /// Adds a node that the user named.
    pub(crate) fn configure(&mut self, address: &NodeAddress, link: T::Link) {
        self.tls |= address.tls();
        if let Some(index) = self.add(address, || Some(link))
            && !self.configured.contains(&index)
        {
            self.configured.push(index);
            self.ring.push(index);
        }
    }

    pub(crate) fn node(&mut self, index: usize) -> Option<&mut NodeState<T>> {
        self.nodes.get_mut(index)?.as_mut()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeState<T>> {
        self.nodes.iter().flatten()
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut NodeState<T>> {
        self.nodes.iter_mut().flatten()
    }

    /// How many nodes calls can be sent to.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn cached_leaders(&self) -> usize {
        self.leaders.iter().flatten().count()
    }

    /// The node for a call: the leader of the key's shard, or else any node that can be reached. `tries` counts
    /// what did not work before, so that a node is not asked twice while another is there.
    pub(crate) fn route(&self, hash: u64, tries: u32) -> usize {
        if !self.leaders.is_empty()
            && let Some(leader) = self.leader(hash)
            && !self.rests(leader)
        {
            return leader;
        }
        self.any(hash, tries)
    }

    /// Any node that can be reached, whoever leads.
    fn any(&self, hash: u64, tries: u32) -> usize {
        let [first, .., _] = self.ring[..] else {
            return self.ring.first().copied().unwrap_or(0);
        };
        let length = self.ring.len();
        // The same node for the same key while nothing changes: its calls then travel in one row.
        let start = ((hash >> 32) as usize).wrapping_add(tries as usize);
        (0..length)
            .map(|step| self.ring[start.wrapping_add(step) % length])
            .find(|index| !self.rests(*index))
            .unwrap_or_else(|| {
                // All of them rest: the configured ones are likeliest to come back under their address.
                self.configured.get(start % self.configured.len().max(1)).copied().unwrap_or(first)
            })
    }

    /// Whether some node other than this one can be tried at once.
    pub(crate) fn has_other(&self, index: usize) -> bool {
        self.ring.iter().any(|other| *other != index && !self.rests(*other))
    }

    fn leader(&self, hash: u64) -> Option<usize> {
        self.leaders.get(self.shard(hash)).copied().flatten()
    }

    fn shard(&self, hash: u64) -> usize {
        jump_consistent_hash(hash, self.total_shards) as usize
    }

    fn rests(&self, index: usize) -> bool {
        self.nodes.get(index).and_then(Option::as_ref).is_none_or(NodeState::rests)
    }

    /// Remembers who leads the key's shard, by a hint that is a node's id or an address. False if it is neither.
    pub(crate) fn learn_leader(
        &mut self,
        hash: u64,
        hint: &str,
        link: impl Fn(&NodeAddress) -> Option<T::Link>,
    ) -> bool {
        let index = self.ids.get(hint).copied().or_else(|| self.reach(&hint.parse().ok()?, &link));
        let Some(index) = index.filter(|index| !self.rests(*index)) else { return false };
        if self.leaders.is_empty() {
            self.leaders = vec![None; self.total_shards as usize];
        }
        let shard = self.shard(hash);
        if let Some(leader) = self.leaders.get_mut(shard) {
            *leader = Some(index);
        }
        true
    }

    /// Forgets the leader of the key's shard if it is this node, which says that it is not.
    pub(crate) fn forget_leader(&mut self, hash: u64, index: usize) {
        let shard = self.shard(hash);
        if let Some(leader) = self.leaders.get_mut(shard)
            && *leader == Some(index)
        {
            *leader = None;
        }
    }

    /// Takes a new view over. `from` is the node that told it.
    pub(crate) fn apply(
        &mut self,
        view: &ClusterView,
        from: usize,
        link: impl Fn(&NodeAddress) -> Option<T::Link>,
    ) {
        self.ids.clear();
        self.ring = self.configured.clone();
        let single = view.nodes.len() == 1;
        for node in &view.nodes {
            // The one node of a view is the one that told it, and it was reached under the address it was
            // asked at, whatever it believes its own address to be.
            let index = if single {
                Some(from)
            } else {
                node.addr.parse().ok().and_then(|address| self.reach(&address, &link))
            };
            let Some(index) = index else { continue };
            self.ids.insert(node.id.clone(), index);
            if !self.ring.contains(&index) {
                self.ring.push(index);
            }
        }
        self.leaders.clear();
        if !view.shards.is_empty() && !self.ids.is_empty() && !single {
            self.leaders = vec![None; self.total_shards as usize];
            for shard in &view.shards {
                let leader = shard.replicas.iter().find(|replica| replica.leader);
                if let Some(place) = self.leaders.get_mut(shard.id as usize) {
                    *place = leader.and_then(|replica| self.ids.get(&replica.node_id)).copied();
                }
            }
        } else if single && !view.shards.is_empty() {
            self.leaders = vec![None; self.total_shards as usize];
            for shard in &view.shards {
                if let Some(place) = self.leaders.get_mut(shard.id as usize) {
                    *place = shard.replicas.iter().any(|replica| replica.leader).then_some(from);
                }
            }
        }
        self.let_go();
    }

    /// The node at an address, added if it is new.
    fn reach(
        &mut self,
        address: &NodeAddress,
        link: &impl Fn(&NodeAddress) -> Option<T::Link>,
    ) -> Option<usize> {
        // "Every interface" is where a server listens, not where it can be reached.
        if matches!(address.host(), "0.0.0.0" | "[::]") {
            return None;
        }
        let address = address.clone().with_tls(self.tls);
        self.add(&address, || link(&address))
    }

    fn add(&mut self, address: &NodeAddress, link: impl FnOnce() -> Option<T::Link>) -> Option<usize> {
        if let Some(index) = self.by_address.get(address) {
            return Some(*index);
        }
        let free = self.nodes.iter().position(Option::is_none).unwrap_or(self.nodes.len());
        if free >= MAX_NODES {
            return None;
        }
        let state = Some(NodeState::new(free, address.clone(), link()?));
        match self.nodes.get_mut(free) {
            Some(place) => *place = state,
            None => self.nodes.push(state),
        }
        self.by_address.insert(address.clone(), free);
        Some(free)
    }

    /// Lets go of nodes that nothing names and nothing uses any more, and with them of their connections.
    fn let_go(&mut self) {
        let (ring, leaders) = (&self.ring, &self.leaders);
        for (index, place) in self.nodes.iter_mut().enumerate() {
            let used = ring.contains(&index) || leaders.contains(&Some(index));
            if let Some(state) = place
                && !used
                && state.is_idle()
            {
                self.by_address.remove(&state.node.address);
                *place = None;
            }
        }
    }

    /// The node for a call that takes no part in the order of its key.
    pub(crate) fn pick(&mut self, hash: u64, tries: u32) -> Option<Arc<Node<T::Link>>> {
        let index = self.route(hash, tries);
        self.node(index).map(|state| Arc::clone(&state.node))
    }

    /// The same, without regard to who leads.
    pub(crate) fn pick_any(&mut self, hash: u64, tries: u32) -> Option<Arc<Node<T::Link>>> {
        let index = self.any(hash, tries);
        self.node(index).map(|state| Arc::clone(&state.node))
    }
}
