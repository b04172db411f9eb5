//! The store's one lock, and what happens under it: calls get their turn, gather, and leave.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use norikv_core::{ClusterView, Error, ErrorKind, NodeAddress, Result};
use norikv_proto::ext::{self, BatchOp};
use tokio::sync::{oneshot, watch};
use web_time::Instant;

use crate::{
    Settings, batch,
    node::{Mode, Node, NodeState, waker_of},
    order::{KeyOrder, Lane, Ticket, Way},
    place::Place,
    router::Router,
    topology,
    transport::{Failed, Link, Transport},
};

/// Everything of a store, shared by its calls and by what runs beside them.
pub(crate) struct Core<T: Transport> {
    pub(crate) transport: T,
    pub(crate) settings: Settings,
    state: Mutex<State<T>>,
    closed: watch::Sender<bool>,
    is_closed: AtomicBool,
    started: AtomicBool,
    /// Every task beside the calls holds a receiver, so that close can wait for the last.
    tasks: watch::Sender<()>,
    /// Counts calls that were dropped before their answer: what carries a batch looks then whether it still
    /// carries anything for anyone.
    abandoned: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) view: watch::Sender<ClusterView>,
}

pub(crate) struct State<T: Transport> {
    pub(crate) order: KeyOrder<Op<T>>,
    pub(crate) router: Router<T>,
    queued_ops: usize,
    queued_bytes: usize,
    /// What to do once the lock is free.
    carriers: Vec<Carrier<T>>,
    replies: Vec<(oneshot::Sender<Reply<T>>, Reply<T>)>,
    /// Keys whose parked calls may have their turn.
    pub(crate) turns: Vec<u64>,
    /// Barriers that wait, earliest first.
    pub(crate) barriers: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// Something to be started that carries the batches of a lane.
struct Carrier<T: Transport> {
    node: Arc<Node<T::Link>>,
    lane: Lane,
    number: usize,
}

/// A call on its way.
pub(crate) struct Op<T: Transport> {
    pub(crate) ticket: Ticket,
    pub(crate) lane: Lane,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Reply<T>>,
    pub(crate) body: BatchOp,
    pub(crate) size: usize,
    pub(crate) tries: u32,
    /// It goes by itself whatever the node takes.
    pub(crate) alone: bool,
}

/// What becomes of a call. The request comes back with it, so that making it again copies nothing.
pub(crate) struct Reply<T: Transport> {
    pub(crate) body: BatchOp,
    pub(crate) end: End<T>,
}

pub(crate) enum End<T: Transport> {
    /// It was answered.
    Answer(ext::batch_result::Result),
    /// It failed; it still has its place if making it again may help.
    Failed(Failed, usize, Option<Place<T>>),
    /// It has its turn and goes by itself: the node takes no batches.
    Alone(Arc<Node<T::Link>>, Place<T>),
    /// The node turned out to take no batches; nothing was done.
    Again(Place<T>),
    /// The store was closed.
    Closed,
}

impl<T: Transport> Core<T> {
    pub(crate) fn new(settings: Settings, transport: T) -> Result<Arc<Self>> {
        settings.check()?;
        let mut router = Router::new(settings.total_shards);
        for address in &settings.nodes {
            router.configure(address, transport.link(address)?);
        }
        Ok(Arc::new(Self {
            transport,
            settings,
            state: Mutex::new(State {
                order: KeyOrder::default(),
                router,
                queued_ops: 0,
                queued_bytes: 0,
                carriers: Vec::new(),
                replies: Vec::new(),
                turns: Vec::new(),
                barriers: VecDeque::new(),
            }),
            closed: watch::Sender::new(false),
            is_closed: AtomicBool::new(false),
            started: AtomicBool::new(false),
            tasks: watch::Sender::new(()),
            abandoned: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            view: watch::Sender::new(ClusterView::default()),
        }))
    }

    /// Runs something under the lock, then does what it left to do without it: a reply may wake a caller, and
    /// what a caller drops may need the lock.
    pub(crate) fn with<R>(self: &Arc<Self>, work: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        self.leave(state);
        result
    }

    /// Does what was left to do, the same whatever was run.
    fn leave(self: &Arc<Self>, mut state: MutexGuard<'_, State<T>>) {
        state.give_turns(self);
        let opened = state.open_barrier();
        let (carriers, replies) = (std::mem::take(&mut state.carriers), std::mem::take(&mut state.replies));
        drop(state);
        for Carrier { node, lane, number } in carriers {
            self.spawn(batch::carry(Arc::clone(self), node, lane, number));
        }
        for (sender, reply) in replies {
            let _ = sender.send(reply);
        }
        if let Some(opened) = opened {
            let _ = opened.send(());
        }
    }

    /// Runs something beside the calls; close waits for it.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + norikv_core::MaybeSend + 'static) {
        let running = self.tasks.subscribe();
        self.transport.spawn(async move {
            future.await;
            drop(running);
        });
    }

    /// Follows the cluster from the first answer on, and not before: the view of a thousand shards would arrive
    /// ahead of what the first call is about.
    pub(crate) fn start(self: &Arc<Self>) {
        if !self.started.load(Ordering::Relaxed)
            && !self.started.swap(true, Ordering::AcqRel)
            && self.settings.watch_cluster
        {
            self.spawn(topology::follow(Arc::clone(self)));
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::closed("the client")) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Waits, unless the store closes.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) async fn sleep(&self, duration: Duration) -> Result<()> {
        let mut closing = self.closing();
        let closed = std::pin::pin!(closing.wait_for(|closed| *closed));
        let sleep = std::pin::pin!(self.transport.sleep(duration));
        futures_util::future::select(closed, sleep).await;
        self.check_open()
    }

    /// Hands a call in, in the order of its key. `place` is that of a call that is made again.
    pub(crate) fn submit(
        self: &Arc<Self>,
        body: BatchOp,
        size: usize,
        deadline: Instant,
        tries: u32,
        place: Result<Place<T>, (u64, bool)>,
    ) -> Result<oneshot::Receiver<Reply<T>>> {
        let (reply, answer) = oneshot::channel();
        // Taken only once nothing can fail: a place is not to be dropped under the lock.
        let mut place = Some(place);
        self.with(|state| {
            self.check_open()?;
            self.check_room(state)?;
            let ticket = match place.take() {
                None => return Ok(()),
                Some(Err((hash, write))) => state.order.ticket(hash, write),
                Some(Ok(place)) => {
                    let ticket = place.keep();
                    if state.order.release(ticket) {
                        state.turns.push(ticket.hash);
                    }
                    ticket
                }
            };
            let lane = if ticket.write { Lane::Write } else { Lane::Read };
            state.offer(self, Op { ticket, lane, deadline, reply, body, size, tries, alone: false });
            Ok(())
        })?;
        Ok(answer)
    }

    pub(crate) fn check_room(&self, state: &State<T>) -> Result<()> {
        let limits = self.settings.batch;
        if state.queued_ops < limits.max_queued_ops && state.queued_bytes < limits.max_queued_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "{} calls ({} bytes) wait to be sent already; wait for some of them before making more",
                state.queued_ops, state.queued_bytes
            ),
        ))
    }

    /// Fills `batch` with the calls that leave next. False, and the carrier is no longer counted, if there are
    /// none.
    pub(crate) fn take(
        self: &Arc<Self>,
        node: usize,
        lane: Lane,
        carrier: usize,
        batch: &mut Vec<Op<T>>,
    ) -> bool {
        let limits = self.settings.batch;
        self.with(|state| {
            let Some(place) = state.router.node(node) else { return false };
            if place.mode() == Mode::Plain {
                // What gathered for a batch goes by itself, each in its turn.
                let gathered = std::mem::take(&mut place.queue(lane).ops);
                for op in gathered {
                    state.turns.push(op.ticket.hash);
                    state.order.recall(op.ticket, op.lane, op);
                }
            }
            let Some(place) = state.router.node(node) else { return false };
            let max_ops = limits.max_ops.min(place.max_batch_ops());
            let mut bytes = 0;
            while batch.len() < max_ops && bytes < limits.max_bytes {
                let Some(place) = state.router.node(node) else { break };
                let Some(op) = place.queue(lane).ops.pop_front() else { break };
                if op.reply.is_closed() {
                    state.unqueue(&op);
                    state.ended(op.ticket, op.lane);
                } else if state.order.must_yield(op.ticket) {
                    state.order.recall(op.ticket, op.lane, op);
                } else {
                    state.unqueue(&op);
                    bytes += op.size;
                    batch.push(op);
                }
            }
            if batch.is_empty() {
                if let Some(place) = state.router.node(node) {
                    place.queue(lane).end_carrier(carrier);
                }
                return false;
            }
            state.start_carrier(node, lane);
            true
        })
    }

    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Acquire)
    }

    /// A caller dropped its call before the answer.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.abandoned.fetch_add(1, Ordering::AcqRel);
        self.wake_carriers();
    }

    fn wake_carriers(self: &Arc<Self>) {
        let nodes: Vec<_> = self.with(|state| {
            state.router.nodes().filter(|node| !node.is_idle()).map(|node| Arc::clone(&node.node)).collect()
        });
        for waker in nodes.iter().flat_map(|node| &node.wakers) {
            waker.wake();
        }
    }

    /// The way to a node that was learnt of, if the transport has one.
    pub(crate) fn link(&self) -> impl Fn(&NodeAddress) -> Option<T::Link> {
        |address| self.transport.link(address).ok()
    }

    pub(crate) fn learn_mode(self: &Arc<Self>, node: usize, mode: Mode) {
        self.start();
        let ask = self.with(|state| {
            let place = state.router.node(node)?;
            place.learn_mode(mode);
            place.reached();
            place.should_ask().then(|| Arc::clone(&place.node))
        });
        if let Some(node) = ask {
            self.spawn(topology::learn_limits(Arc::clone(self), node));
        }
    }

    /// The largest value that the node takes which a key's calls go to, where that is known.
    pub(crate) fn max_value(self: &Arc<Self>, hash: u64) -> usize {
        self.with(|state| {
            let node = state.router.route(hash, 0);
            let limits = state.router.node(node).and_then(|node| node.limits());
            limits.map_or(usize::MAX, |limits| limits.max_value_bytes)
        })
    }

    /// Tells everything to end, without waiting for it.
    pub(crate) fn end_soon(self: &Arc<Self>) {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.closed.send_replace(true);
        self.with(State::end);
        self.wake_carriers();
    }

    /// Ends everything. The second call, and further ones, wait for the same end.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.end_soon();
        self.transport.close().await;
        self.tasks.closed().await;
    }
}

impl<T: Transport> State<T> {
    /// Lets a call go if it is its turn; parks it otherwise.
    pub(crate) fn offer(&mut self, core: &Arc<Core<T>>, mut op: Op<T>) {
        let index = self.router.route(op.ticket.hash, op.tries);
        let Some(place) = self.router.node(index) else {
            self.replies.push((op.reply, Reply { body: op.body, end: End::Closed }));
            return;
        };
        let way = if op.alone || place.mode() == Mode::Plain { Way::Alone } else { Way::Batch(index) };
        let Some(lane) = self.order.admit(op.ticket, way) else {
            self.queued_ops += 1;
            self.queued_bytes += op.size;
            self.order.park(op.ticket, op);
            return;
        };
        op.lane = lane;
        if way == Way::Alone {
            let end = End::Alone(Arc::clone(&place.node), Place::under_way(core, op.ticket, lane));
            self.replies.push((op.reply, Reply { body: op.body, end }));
            return;
        }
        self.queued_ops += 1;
        self.queued_bytes += op.size;
        let queue = place.queue(lane);
        queue.ops.push_back(op);
        // One carrier takes all that gather before it runs; a further one is for what comes while it is away.
        if queue.ops.len() == 1 {
            self.start_carrier(index, lane);
        }
    }

    /// Starts a carrier for what waits in a lane, if the lane may have one more.
    fn start_carrier(&mut self, index: usize, lane: Lane) {
        let Some(place) = self.router.node(index) else { return };
        let queue = place.queue(lane);
        if !queue.ops.is_empty()
            && let Some(number) = queue.start_carrier(lane)
        {
            self.carriers.push(Carrier { node: Arc::clone(&place.node), lane, number });
        }
    }

    /// A call that was let go has ended.
    pub(crate) fn ended(&mut self, ticket: Ticket, lane: Lane) {
        if self.order.finish(ticket, lane) {
            self.turns.push(ticket.hash);
        }
    }

    /// A call that was let go has failed and keeps its place.
    pub(crate) fn hold(&mut self, core: &Arc<Core<T>>, ticket: Ticket, lane: Lane) -> Place<T> {
        self.order.hold(ticket, lane);
        Place::held(core, ticket)
    }

    pub(crate) fn place(&mut self, node: usize) -> Option<&mut NodeState<T>> {
        self.router.node(node)
    }

    fn unqueue(&mut self, op: &Op<T>) {
        self.queued_ops = self.queued_ops.saturating_sub(1);
        self.queued_bytes = self.queued_bytes.saturating_sub(op.size);
    }

    /// Lets parked calls go whose turn has come.
    fn give_turns(&mut self, core: &Arc<Core<T>>) {
        while let Some(hash) = self.turns.pop() {
            while let Some(ticket) = self.order.next_parked(hash) {
                let Some(op) = self.order.unpark(hash) else { break };
                self.unqueue(&op);
                if op.reply.is_closed() {
                    continue;
                }
                self.offer(core, op);
                if self.order.next_parked(hash) == Some(ticket) {
                    break;
                }
            }
        }
    }

    /// The barrier that nothing stands before any more.
    fn open_barrier(&mut self) -> Option<oneshot::Sender<()>> {
        let open = self.order.open_fence()?;
        let (number, _) = self.barriers.front()?;
        if *number != open {
            return None;
        }
        self.barriers.pop_front().map(|(_, barrier)| barrier)
    }

    /// Answers everything that has not left.
    fn end(&mut self) {
        self.barriers.clear();
        let mut waiting = self.order.drain_parked();
        let mut gathered = Vec::new();
        for node in self.router.nodes_mut() {
            gathered.extend(node.queue(Lane::Read).ops.drain(..));
            gathered.extend(node.queue(Lane::Write).ops.drain(..));
        }
        for op in &gathered {
            self.order.finish(op.ticket, op.lane);
        }
        waiting.append(&mut gathered);
        (self.queued_ops, self.queued_bytes) = (0, 0);
        self.replies
            .extend(waiting.into_iter().map(|op| (op.reply, Reply { body: op.body, end: End::Closed })));
    }
}

/// The waker of a carrier.
pub(crate) fn waker<L: Link>(node: &Node<L>, lane: Lane, carrier: usize) -> &futures_util::task::AtomicWaker {
    &node.wakers[waker_of(lane, carrier)]
}
