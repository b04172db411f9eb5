use std::{collections::VecDeque, time::Duration};

use futures_util::task::AtomicWaker;
use norikv_core::{Limits, NodeAddress};
use web_time::Instant;

use crate::{
    core::Op,
    order::Lane,
    transport::{Link, Transport},
};

/// Batches of reads that may be under way at once: while one is on its way back, the next gathers and leaves.
const READ_BATCHES: usize = 2;
/// Batches of writes: one, so that writes keep their order.
const WRITE_BATCHES: usize = 1;
/// The most calls in a batch before the server has said how many it takes.
const CAUTIOUS_BATCH: usize = 64;
/// For how long a node that could not be reached is passed over: doubled with every failure in a row.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// A server, shared by everything that talks to it.
pub(crate) struct Node<L> {
    pub(crate) index: usize,
    pub(crate) address: NodeAddress,
    pub(crate) link: L,
    /// Wakes what carries a batch, when calls of it were dropped or the store closes.
    pub(crate) wakers: [AtomicWaker; READ_BATCHES + WRITE_BATCHES],
}

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not known; a batch is the question.
    Unknown,
    /// Batches.
    Batch,
    /// `norikv.v1` alone.
    Plain,
}

/// What is known of a server and waits for it. Guarded by the store's one lock.
pub(crate) struct NodeState<T: Transport> {
    pub(crate) node: std::sync::Arc<Node<T::Link>>,
    mode: Mode,
    /// The connection that `mode` and `limits` are of.
    learnt: u64,
    limits: Option<Limits>,
    asked: bool,
    failures: u32,
    rests_until: Option<Instant>,
    pub(crate) last_failure: Option<String>,
    reads: Queue<T>,
    writes: Queue<T>,
}

/// The calls that gather for one lane of a node.
pub(crate) struct Queue<T: Transport> {
    pub(crate) ops: VecDeque<Op<T>>,
    /// Which of the lane's carriers are running, one bit each.
    carriers: u8,
}

impl<T: Transport> NodeState<T> {
    pub(crate) fn new(index: usize, address: NodeAddress, link: T::Link) -> Self {
        let node = Node { index, address, link, wakers: Default::default() };
        Self {
            node: std::sync::Arc::new(node),
            mode: Mode::Unknown,
            learnt: 0,
            limits: None,
            asked: false,
            failures: 0,
            rests_until: None,
            last_failure: None,
            reads: Queue { ops: VecDeque::new(), carriers: 0 },
            writes: Queue { ops: VecDeque::new(), carriers: 0 },
        }
    }

    pub(crate) fn queue(&mut self, lane: Lane) -> &mut Queue<T> {
        match lane {
            Lane::Read => &mut self.reads,
            Lane::Write => &mut self.writes,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        [&self.reads, &self.writes].iter().all(|queue| queue.ops.is_empty() && queue.carriers == 0)
    }

    /// What the server takes; forgotten when the connection is gone or is another one, for so may the server be.
    pub(crate) fn mode(&mut self) -> Mode {
        let generation = self.node.link.generation();
        if generation != self.learnt || self.node.link.connections() == 0 {
            self.learnt = generation;
            self.mode = Mode::Unknown;
            self.limits = None;
            self.asked = false;
        }
        self.mode
    }

    /// Keeps what the server was found to take.
    pub(crate) fn learn_mode(&mut self, mode: Mode) {
        self.learnt = self.node.link.generation();
        self.mode = mode;
    }

    pub(crate) fn learn_limits(&mut self, limits: Limits) {
        self.limits = Some(limits);
    }

    pub(crate) fn limits(&self) -> Option<Limits> {
        self.limits
    }

    /// True once per connection: the caller then asks for the limits.
    pub(crate) fn should_ask(&mut self) -> bool {
        self.mode() == Mode::Batch && !std::mem::replace(&mut self.asked, true)
    }

    pub(crate) fn max_batch_ops(&self) -> usize {
        self.limits.map_or(CAUTIOUS_BATCH, |limits| limits.max_batch_ops)
    }

    /// Whether calls are better sent elsewhere for the moment.
    pub(crate) fn rests(&self) -> bool {
        self.failures > 0 && self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn reached(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            self.rests_until = None;
            self.last_failure = None;
        }
    }

    pub(crate) fn unreachable(&mut self, why: &str) {
        let rest = FIRST_REST.saturating_mul(1 << self.failures.min(10)).min(LONGEST_REST);
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Instant::now().checked_add(rest);
        self.last_failure = Some(why.to_owned());
    }
}

impl<T: Transport> Queue<T> {
    /// The number of a further carrier for the lane, if it may have one more.
    pub(crate) fn start_carrier(&mut self, lane: Lane) -> Option<usize> {
        let most = match lane {
            Lane::Read => READ_BATCHES,
            Lane::Write => WRITE_BATCHES,
        };
        let number = (0..most).find(|number| self.carriers & (1 << number) == 0)?;
        self.carriers |= 1 << number;
        Some(number)
    }

    pub(crate) fn end_carrier(&mut self, number: usize) {
        self.carriers &= !(1 << number);
    }
}

/// Which waker a carrier uses.
pub(crate) fn waker_of(lane: Lane, carrier: usize) -> usize {
    match lane {
        Lane::Read => carrier,
        Lane::Write => READ_BATCHES + carrier,
    }
}
