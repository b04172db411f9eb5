use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use norikv_core::{
    Call, Consistency, Count, Entry, Error, ErrorKind, Event, EventKind, EventReason, KeyRange, Result, Scan,
    VECTOR_KEY_PREFIX, Version, WatchBatch,
};

use super::{
    DIFFERENT, Finish, STILL_WRITTEN,
    ends::Ends,
    merge::{Difference, Kind, Merge, Purpose, Seen},
    note::{Before, Note},
    patience::Patience,
    progress::{Progress, bytes, count, shown},
    source::{Source, newest, page, rest},
    target::{Op, Target},
    wanted::{Fate, fate, is_own, now},
};
use crate::args::Copy;

/// How often a copy begins again because the source forgot what it had not read yet.
const BEGINNINGS: u32 = 10;
/// What is gathered of changes before they are written: so many keys, or so many bytes.
const WINDOW_KEYS: usize = 1_024;
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// How often the source is asked for its newest version, to know how far behind the target is, and the target for its note.
const LOOK: Duration = Duration::from_secs(1);
/// How many differences are named.
const NAMED: usize = 10;

/// Does what was asked for. Answers the exit code.
pub(crate) async fn run(args: &Copy, ends: &Ends, finish: &Finish) -> Result<i32> {
    let patience = Patience::new(args.retry_ms, Progress::new(args.quiet));
    let range = KeyRange::prefix(args.prefix.clone().into_bytes());
    let done = if args.verify_only {
        compare(ends, &range, &patience).await
    } else {
        copy(args, ends, range, &patience, finish).await
    };
    patience.progress.end();
    done
}

/// What was compared.
#[derive(Default)]
struct Compared {
    seen: Seen,
    missing: u64,
    different: u64,
    extra: u64,
    named: Vec<Difference>,
    /// Keys that the source has from after it was no more to be written.
    newer: u64,
}

impl Compared {
    fn add_seen(&mut self, seen: Seen) {
        self.seen.keys += seen.keys;
        self.seen.bytes += seen.bytes;
        self.seen.leased += seen.leased;
    }

    fn add(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            *match difference.kind {
                Kind::Missing => &mut self.missing,
                Kind::Different => &mut self.different,
                Kind::Extra => &mut self.extra,
            } += 1;
            if self.named.len() < NAMED {
                self.named.push(difference);
            }
        }
    }

    fn is_equal(&self) -> bool {
        self.missing + self.different + self.extra == 0
    }

    /// Says what was found. Answers the exit code.
    fn say(&self, progress: &Progress, at: Version) -> i32 {
        let what = format!("{}, {} compared", count(self.seen.keys, "key"), bytes(self.seen.bytes));
        let leased = if self.seen.leased == 0 {
            String::new()
        } else {
            format!("; left out: {} with a lease", count(self.seen.leased, "key"))
        };
        if self.is_equal() {
            progress.say(&format!("equal at version {at}: {what}{leased}"));
            return 0;
        }
        progress.say(&format!(
            "not equal at version {at}: {} missing in the target, {} different, {} that the source has not; {what}{leased}",
            self.missing, self.different, self.extra
        ));
        for difference in &self.named {
            let kind = match difference.kind {
                Kind::Missing => "missing",
                Kind::Different => "different",
                Kind::Extra => "extra",
            };
            progress.say(&format!("  {kind}: {}", shown(&difference.key)));
        }
        let unnamed = self.missing + self.different + self.extra - self.named.len() as u64;
        if unnamed > 0 {
            progress.say(&format!("  and {} more", indicatif::HumanCount(unnamed)));
        }
        DIFFERENT
    }
}

/// Compares the stores as they are.
async fn compare(ends: &Ends, range: &KeyRange, patience: &Patience) -> Result<i32> {
    let at = newest(&ends.from, range, patience).await?;
    patience.progress.phase("comparing", Some(total(ends, range, patience).await?));
    let mut compared = Compared::default();
    let mut after = None;
    loop {
        let (entries, more) = page(&ends.from, &Scan::new(rest(range, after.as_ref())), patience).await?;
        let (part, last) = part(range, after.as_ref(), &entries, more);
        let mut merge = Merge::new(&ends.to, patience, entries, part, Purpose::Tell);
        while let Some(differences) = merge.next().await? {
            compared.add(differences);
        }
        patience.progress.step(merge.seen.keys);
        compared.add_seen(merge.seen);
        match last {
            Some(last) => after = Some(last),
            None => return Ok(compared.say(&patience.progress, at)),
        }
    }
}

/// How many keys the source has, its own among them.
async fn total(ends: &Ends, range: &KeyRange, patience: &Patience) -> Result<u64> {
    let request = Count { range: range.clone(), version: None, consistency: Consistency::StaleOk };
    Ok(patience.ask(|call: Call| ends.from.count(request.clone(), call)).await?.count)
}

/// The part of a range that a page speaks for, and the last key of it if there is more behind.
fn part(range: &KeyRange, after: Option<&Bytes>, entries: &[Entry], more: bool) -> (KeyRange, Option<Bytes>) {
    let mut part = rest(range, after);
    let last = entries.last().filter(|_| more).map(|entry| entry.key.clone());
    if let Some(last) = &last {
        part.end = Some(KeyRange::all().after(last).start);
    }
    (part, last)
}

async fn copy(
    args: &Copy,
    ends: &Ends,
    range: KeyRange,
    patience: &Patience,
    finish: &Finish,
) -> Result<i32> {
    let progress = &patience.progress;
    let (note, before) = Note::leave(ends, args.prefix.as_bytes(), args.overwrite, patience).await?;
    let what = match before {
        Before::Empty => "copying",
        Before::Unfinished => "going on with the copy",
        Before::Foreign => "copying, and overwriting what is there,",
    };
    progress.note(&format!("{what} from {} to {}", ends.from_name, ends.to_name));
    if !args.prefix.is_empty() && has_vectors(ends, patience).await? {
        progress.note("the source's vector indexes are left out: they go with a copy of all keys");
    }
    let target = Target::new(&ends.to, patience.clone(), args.concurrency, args.max_rate, ends.to_cluster);
    let mut copying = Copying {
        ends,
        range,
        target,
        note,
        empty: before == Before::Empty,
        looked: Instant::now(),
        late: None,
    };
    let begun = Instant::now();
    let mut beginnings = 1;
    let (compared, at) = loop {
        match copying.once(args.follow, finish).await {
            Ok(done) => break done,
            Err(error) if error.kind() == ErrorKind::Compacted && beginnings < BEGINNINGS => {
                beginnings += 1;
                copying.empty = false;
                progress.note(&format!(
                    "the source forgot changes that the copy had not read yet ({error}): it compares all keys again, beginning {beginnings} of {BEGINNINGS}"
                ));
            }
            Err(error) if error.kind() == ErrorKind::Compacted => return Err(too_short(error)),
            Err(error) => return Err(error),
        }
    };
    copying.end(&compared, at, begun.elapsed()).await
}

fn too_short(error: Error) -> Error {
    let message = format!(
        "the source forgot changes {BEGINNINGS} times before the copy had read them ({error}); let it keep its history for longer (--history-ms, --history-revisions; with etcd, --auto-compaction-retention), or write less for the time of the copy. Run again, and it goes on"
    );
    Error::new(ErrorKind::Compacted, message).caused_by(error)
}

async fn has_vectors(ends: &Ends, patience: &Patience) -> Result<bool> {
    let request = Scan { limit: 1, keys_only: true, ..Scan::new(KeyRange::prefix(VECTOR_KEY_PREFIX)) };
    Ok(!page(&ends.from, &request, patience).await?.0.is_empty())
}

/// A copy under way.
struct Copying<'a> {
    ends: &'a Ends,
    range: KeyRange,
    target: Target,
    note: Note,
    /// Whether the target had no key when the copy began.
    empty: bool,
    /// When the note was last looked at.
    looked: Instant,
    /// The version up to which the source was to be written, and how many writes came after it.
    late: Option<(Version, u64)>,
}

/// How far a scan has come: up to this key, or through.
enum Place<'a> {
    UpTo(Option<&'a Bytes>),
    Through,
}

impl Place<'_> {
    fn is_behind(&self, key: &Bytes) -> bool {
        match self {
            Self::UpTo(last) => last.is_some_and(|last| key <= last),
            Self::Through => true,
        }
    }
}

impl Copying<'_> {
    /// Copies all, follows if that is wanted, and compares. Answers what was compared, and at which version.
    async fn once(&mut self, follow: bool, finish: &Finish) -> Result<(Compared, Version)> {
        let patience = self.target.patience.clone();
        let mut source = Source::begin(&self.ends.from, &self.range, &patience).await?;
        patience.progress.phase("copying", Some(total(self.ends, &self.range, &patience).await?));
        let purpose = if self.empty { Purpose::Fill } else { Purpose::Mend };
        self.walk(&mut source, purpose).await?;
        let over_clusters = source.at.is_moment();
        if !over_clusters {
            self.reach(&mut source).await?;
        }
        if follow {
            // Where this is not the first beginning, it may have been told to end already.
            if self.late.is_none() {
                self.follow(&mut source, finish).await?;
            }
            if over_clusters {
                // That one moment is greater than another says of one of the clusters only that it is further. One that a watch
                // begins at is behind nothing that was acknowledged.
                source = Source::begin(&self.ends.from, &self.range, &patience).await?;
                self.late.get_or_insert((source.at, 0));
                self.walk(&mut source, Purpose::Mend).await?;
            } else {
                // Whoever begins again was told to end before, and what was written since then is late.
                if self.late.is_none() {
                    self.late = Some((source.newest().await?, 0));
                }
                self.reach(&mut source).await?;
            }
        }
        patience.progress.phase("verifying", Some(total(self.ends, &self.range, &patience).await?));
        let compared = self.walk(&mut source, Purpose::Tell).await?;
        let at = source.at;
        if let (Some((_, late)), false) = (&mut self.late, over_clusters) {
            // Where the source forgot changes, the watch has not told them.
            *late = (*late).max(compared.newer);
            // What was written while the last page was compared.
            self.reach(&mut source).await?;
        }
        Ok((compared, at))
    }

    /// Goes through all keys of the source, page by page, and mends or tells what is different in the target. What changes
    /// meanwhile is written into the part that it has gone through.
    async fn walk(&mut self, source: &mut Source, purpose: Purpose) -> Result<Compared> {
        let patience = self.target.patience.clone();
        let mut compared = Compared::default();
        let mut after: Option<Bytes> = None;
        loop {
            // All of the target is as the source was while it is compared; while it is copied, what is behind this key.
            let place = if purpose == Purpose::Tell { Place::Through } else { Place::UpTo(after.as_ref()) };
            while let Some(batch) = source.pending() {
                self.absorb(source, batch?, &place).await?;
            }
            let (entries, more) = self.page(source, after.as_ref(), &place).await?;
            if let Some((until, _)) = self.late {
                compared.newer += entries.iter().filter(|entry| entry.version > until).count() as u64;
            }
            let (part, last) = part(&self.range, after.as_ref(), &entries, more);
            let store = Arc::clone(&self.target.store);
            let mut merge = Merge::new(&store, &patience, entries, part, purpose);
            while let Some(differences) = merge.next().await? {
                if purpose == Purpose::Tell {
                    compared.add(differences);
                } else {
                    self.target.write(differences.into_iter().map(Difference::mend).collect()).await?;
                }
            }
            patience.progress.step(merge.seen.keys);
            compared.add_seen(merge.seen);
            self.look().await?;
            match last {
                Some(last) => after = Some(last),
                None => return Ok(compared),
            }
        }
    }

    /// A page at the version that the watch has come to. Where that was just forgotten because nothing had happened for a while,
    /// the watch says soon that it has come further.
    async fn page(
        &mut self,
        source: &mut Source,
        after: Option<&Bytes>,
        place: &Place<'_>,
    ) -> Result<(Vec<Entry>, bool)> {
        match source.page(after).await {
            Err(error) if error.kind() == ErrorKind::Compacted => {
                let batch = source.next().await?;
                self.absorb(source, batch, place).await?;
                source.page(after).await
            }
            done => done,
        }
    }

    /// Reads the watch until the target has all that the source has now.
    async fn reach(&mut self, source: &mut Source) -> Result<()> {
        let newest = source.newest().await?;
        self.target.patience.progress.phase("catching up", None);
        while source.at < newest {
            let batch = source.next().await?;
            self.absorb(source, batch, &Place::Through).await?;
            self.look().await?;
        }
        Ok(())
    }

    /// Keeps the target as the source is, until that is to end.
    async fn follow(&mut self, source: &mut Source, finish: &Finish) -> Result<()> {
        let progress = Arc::clone(&self.target.patience.progress);
        finish.follow();
        progress.phase("following", None);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut goal, mut told) = (None, None);
        let over_clusters = source.at.is_moment();
        if over_clusters {
            progress.say("following: all that was there is copied");
        }
        loop {
            tokio::select! {
                batch = source.next() => self.absorb(source, batch?, &Place::Through).await?,
                _ = look.tick() => {
                    if !over_clusters {
                        let newest = source.newest().await?;
                        let behind = newest.index.saturating_sub(source.at.index);
                        if behind > 0 && goal.is_some() {
                            let behind = count(behind, "revision");
                            progress.note(&format!("{behind} behind, at version {}", source.at));
                        }
                        goal.get_or_insert(newest);
                    }
                    self.look().await?;
                }
                () = finish.asked() => return Ok(()),
            }
            if goal.is_some_and(|goal| source.at >= goal) {
                goal = None;
                if told != Some(source.at) {
                    told = Some(source.at);
                    progress.say(&format!("caught up at version {}", source.at));
                }
            }
        }
    }

    /// Now and then looks whether the target is still this copy's.
    async fn look(&mut self) -> Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        self.note.check().await
    }

    /// Writes what was told, and what is here behind it, into the part of the target that has been gone through.
    async fn absorb(&mut self, source: &mut Source, first: WatchBatch, place: &Place<'_>) -> Result<()> {
        let mut window = HashMap::new();
        let (mut at, mut bytes) = (source.at, 0);
        let mut next = Some(Ok(first));
        let mut failed = None;
        while let Some(batch) = next.take() {
            let batch = match batch {
                Ok(batch) => batch,
                // What was told before is to be written all the same.
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            at = batch.version;
            for event in batch.events {
                self.count_late(at, &event);
                if is_own(&event.entry.key) || !place.is_behind(&event.entry.key) {
                    continue;
                }
                bytes += event.entry.key.len() + event.entry.value.len();
                window.insert(event.entry.key.clone(), event);
            }
            if window.len() < WINDOW_KEYS && bytes < WINDOW_BYTES {
                next = source.pending();
            }
        }
        let (changes, now) = (window.len() as u64, now());
        let op = |(key, event): (Bytes, Event)| {
            let wanted = match (event.kind, fate(&event.entry, now)) {
                (EventKind::Put, Fate::Copied(wanted)) => Some(wanted),
                _ => None,
            };
            Op { key, wanted }
        };
        self.target.write(window.into_iter().map(op).collect()).await?;
        source.at = at;
        self.target.patience.progress.step(changes);
        failed.map_or(Ok(()), Err)
    }

    /// Counts what somebody writes after the source was no more to be written. What ends by itself is nobody's write.
    fn count_late(&mut self, at: Version, event: &Event) {
        let Some((until, late)) = &mut self.late else { return };
        let by_somebody = match event.kind {
            EventKind::Put => true,
            EventKind::Delete => self.ends.knows_reasons && event.reason == EventReason::Write,
        };
        if at > *until && by_somebody {
            *late += 1;
        }
    }

    /// Says what was done, and takes the note away if the target is a copy.
    async fn end(&self, compared: &Compared, at: Version, time: Duration) -> Result<i32> {
        let progress = &self.target.patience.progress;
        let mut code = compared.say(progress, at);
        if let (0, Some((until, late @ 1..))) = (code, self.late) {
            progress.say(&format!(
                "the source is still written to: {} after version {until}, when the copy was to end; stop the writers, and run the same command again",
                count(late, "write")
            ));
            code = STILL_WRITTEN;
        }
        self.note.check().await?;
        if code == 0 {
            self.note.remove().await?;
        }
        let written = &self.target.written;
        progress.say(&format!(
            "wrote {} ({}) and deleted {} in {:.1} s",
            count(written.puts.load(Ordering::Relaxed), "key"),
            bytes(written.bytes.load(Ordering::Relaxed)),
            written.deletes.load(Ordering::Relaxed),
            time.as_secs_f64(),
        ));
        Ok(code)
    }
}
