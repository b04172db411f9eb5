use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use norikv_core::{Durability, Limits, Result, VECTOR_KEY_PREFIX};

use crate::{
    history::History,
    hub::{Changed, Hub},
    job::{Answer, Job, Reply, Work},
    meta::Meta,
    pending::Pending,
    queue::{Queue, Taken},
    shared::Shared,
    stage::{Group, Staged},
    sweep::Sweeper,
};

/// Until when what was acknowledged from memory is to be on its way to the disk.
const SYNC_AFTER: Duration = Duration::from_millis(50);

/// How many watchers are woken before a group is answered.
const WOKEN_FIRST: usize = 8;

/// How long a group waits at most for the callers of the one before it.
const MOST_PATIENCE: Duration = Duration::from_millis(1);

/// The one that writes.
///
/// It takes all the writes that wait, stages them one after the other, commits them together, publishes the
/// revision they end at, and answers them. Writes that come meanwhile form the next group, so a lone write
/// waits for nobody and many share one sync.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    durable: bool,
    /// The newest revision that is committed.
    revision: u64,
    sweeper: Sweeper,
    history: History,
    /// Since when something is committed that is not on disk.
    unsynced_since: Option<Instant>,
    /// How many callers the last group had, if more than one, and how long its sync took.
    company: Option<(usize, Duration)>,
    jobs: Vec<Job>,
    answers: Vec<(Answer, Option<Pending>)>,
    /// The changes of the group that was committed, for those who watch.
    changes: Option<Vec<Changed>>,
    compactions: Vec<Reply<()>>,
}

/// Leaves nobody waiting for a writer that is gone, should it ever panic.
struct AbandonOnDrop(Arc<Queue>, Arc<Hub>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
        self.1.close();
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let revision = shared.published();
        Ok(Self {
            durable: !shared.engine.in_memory() && shared.settings.durability != Durability::Relaxed,
            revision,
            sweeper: Sweeper::new(&*shared.engine)?,
            history: History::new(&shared)?,
            shared,
            unsynced_since: None,
            company: None,
            jobs: Vec::new(),
            answers: Vec::new(),
            changes: None,
            compactions: Vec::new(),
        })
    }

    /// Writes until the queue is closed and empty, then puts everything on disk.
    pub(crate) fn run(mut self) {
        let _abandon = AbandonOnDrop(Arc::clone(&self.shared.queue), Arc::clone(&self.shared.hub));
        loop {
            self.wait_for_company();
            let wake_at = self.wake_at();
            let taken = self.shared.queue.take(&mut self.jobs, wake_at);
            if taken == Taken::Closed {
                break;
            }
            self.group();
            self.sync_if_due();
            self.shared.hub.tell_progress();
        }
        self.finish();
    }

    /// The callers of the last group come back one by one with their next writes. The first one back would
    /// have a sync of its own, and all the others wait for it; so they are waited for, for a small part of a
    /// sync. A caller that is alone is never made to wait.
    fn wait_for_company(&mut self) {
        if let Some((callers, sync)) = self.company.take() {
            self.shared.queue.wait_for_company(callers, Instant::now() + (sync / 8).min(MOST_PATIENCE));
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let shared = &*self.shared;
        let deadline = self.sweeper.due_in(&shared.clock, &shared.leases).map(|left| Instant::now() + left);
        let progress = shared.hub.progress_in().map(|left| Instant::now() + left);
        let history = self.history.due_in(&self.shared, self.revision).map(|left| Instant::now() + left);
        let sync = self.unsynced_since.map(|since| since + SYNC_AFTER);
        [deadline, history, sync, progress].into_iter().flatten().min()
    }

    fn group(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut group = Group::new(&shared, self.revision);
        self.sweeper.sweep(&mut group);
        for job in std::mem::take(&mut self.jobs) {
            self.stage(&mut group, job);
        }
        let floor = self.history.advance(&shared, &mut group);
        let started = Instant::now();
        let result = self.commit(group.finish(), floor);
        if self.durable && self.answers.len() > 1 {
            self.company = Some((self.answers.len(), started.elapsed()));
        }
        if let Err(error) = &result {
            tracing::error!(%error, "a group of writes failed");
            self.sweeper.stop();
            self.history.stop(error);
        }
        // The event of a write is on its way before its answer is, but who waits for the answer does not wait for a
        // crowd of watchers.
        let mut wakers = self.shared.hub.publish(self.changes.take(), self.revision);
        let crowd = wakers.split_off(wakers.len().min(WOKEN_FIRST));
        wakers.into_iter().for_each(Waker::wake);
        self.answer(&result);
        crowd.into_iter().for_each(Waker::wake);
    }

    fn stage(&mut self, group: &mut Group<'_>, job: Job) {
        if job.is_abandoned() {
            return;
        }
        let answer = match job.work {
            Work::Put(put, reply) => Answer::Put(reply, group.put(&put)),
            Work::Delete(delete, reply) => Answer::Delete(reply, group.delete(&delete)),
            Work::DeleteRange(delete, reply) => Answer::DeleteRange(reply, group.delete_range(&delete)),
            Work::Txn(txn, reply) => Answer::Txn(reply, group.txn(&txn, Limits::default().max_page_entries)),
            Work::Grant(grant, reply) => Answer::Grant(reply, group.grant(grant)),
            Work::Revoke(id, reply) => Answer::Revoke(reply, group.revoke(id)),
            Work::Barrier((), reply) => Answer::Barrier(reply, Ok(group.revision())),
            Work::Compact(to, reply) => {
                self.history.ask(to);
                self.compactions.push(reply);
                return;
            }
        };
        self.answers.push((answer, job.pending));
    }

    /// Commits a group and publishes it, or leaves everything as it was.
    fn commit(&mut self, staged: Staged, floor: Option<u64>) -> Result<()> {
        let shared = &*self.shared;
        if staged.batch.is_empty() {
            return Ok(());
        }
        shared.begin(staged.revision);
        // What lies below the floor may go for good, so the floor must not come back after a crash.
        let durable = self.durable || floor.is_some();
        shared.engine.commit(staged.batch, durable)?;
        if let Some(floor) = floor {
            self.history.forget(&self.shared, floor);
        }
        for (key, record) in staged.entries {
            // Vectors are in memory already, in their indexes. Those that are read are kept like any others.
            let kept = shared.engine.in_memory() || !key.starts_with(VECTOR_KEY_PREFIX);
            shared.rows.write(&key, record.filter(|_| kept));
        }
        self.revision = staged.revision;
        shared.publish(staged.revision);
        self.sweeper.set(staged.deadline);
        self.changes = staged.changes;
        for (id, ttl) in staged.leases.granted {
            shared.leases.add(id, ttl.as_duration());
        }
        staged.leases.ended.into_iter().for_each(|id| shared.leases.remove(id));
        self.history.committed(staged.revision, staged.time);
        if durable {
            self.unsynced_since = None;
            shared.note_synced(self.revision);
        } else if !shared.engine.in_memory() {
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn answer(&mut self, result: &Result<()>) {
        for (answer, pending) in self.answers.drain(..) {
            // Before the answer: who has it may read at once.
            drop(pending);
            match (result, answer) {
                (Ok(()), answer) => answer.send(),
                // A read that waited for writes does not fail with them.
                (Err(_), Answer::Barrier(reply, _)) => Answer::Barrier(reply, Ok(self.revision)).send(),
                (Err(error), answer) => answer.failed(error).send(),
            }
        }
        for reply in self.compactions.drain(..) {
            drop(reply.send(result.clone().and_then(|()| self.history.check())));
        }
    }

    fn sync_if_due(&mut self) {
        if self.unsynced_since.is_some_and(|since| since.elapsed() >= SYNC_AFTER) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        if self.unsynced_since.take().is_none() {
            return;
        }
        match self.shared.engine.sync() {
            Ok(()) => self.shared.note_synced(self.revision),
            Err(error) => {
                tracing::error!(%error, "acknowledged writes could not be put on disk");
                self.sweeper.stop();
                self.history.stop(&error);
            }
        }
    }

    fn finish(mut self) {
        self.sync();
        if !self.shared.engine.in_memory() {
            let meta = Meta {
                term: self.shared.term,
                revision: self.revision,
                floor: self.shared.floor(),
                time: self.shared.clock.now(),
            };
            if let Err(error) = self.shared.engine.commit(vec![meta.op()], true) {
                tracing::debug!(%error, "the clock was not recorded at close");
            }
        }
    }
}
