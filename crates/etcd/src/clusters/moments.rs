//! Moments: what several clusters were at, each at a revision of its own, as one [`Version`].
//!
//! From the highest bit of the 128 of a version to the lowest:
//!
//! | bits | what |
//! |---|---|
//! | 1 | one, by which a moment is known |
//! | 32, with four clusters or more | the token of a *base* |
//! | as many as there are, for each cluster the same | its revision, or how far it is beyond that of the base |
//! | enough for the number of clusters and two | of whose batch of a watch it is: the number of the cluster and one; all ones if it is of none, so that it is not less than what led to it |
//! | 1 | one if it is after that batch, and not of it: what is one more than a batch's version |
//!
//! So moments grow as their revisions do, and whoever has one needs nothing else: a scan goes on, and a watch is taken up, at any
//! server. Only the revisions of four clusters or more do not fit. A base is written into the first cluster, under its token, when
//! the differences from the last one do not fit any more or it is old; it is for all scans and watches of a process, and goes after
//! some hours.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use norikv_core::{Call, Error, ErrorKind, Result, Version};

use crate::{
    connection::Ask,
    entries::{expiry_second, now, ttl_lease},
    store::Inner,
};

/// The most clusters whose revisions fit.
const FIT: usize = 3;
const TOKEN_BITS: u32 = 32;
const MARK: u128 = 1 << 127;
/// How long a base is used for new moments, and how long it is kept.
const FRESH: Duration = Duration::from_secs(3_600);
const KEPT: Duration = Duration::from_secs(4 * 3_600);
/// How many bases a process remembers.
const BASES: usize = 64;
/// How many tokens are tried: another process may have one of the same second.
const TOKENS: u32 = 64;

/// What a moment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The revision of each cluster.
    pub(crate) revisions: Vec<u64>,
    /// The cluster whose batch of a watch it is.
    of: Option<usize>,
}

impl Moment {
    /// The first revision of a cluster that a watch is to tell, which was asked for from this moment on.
    pub(crate) fn from(&self, cluster: usize) -> u64 {
        let at = self.revisions.get(cluster).copied().unwrap_or(0);
        if self.of == Some(cluster) { at } else { at + 1 }
    }
}

#[derive(Clone)]
struct Base {
    token: u32,
    revisions: Vec<u64>,
}

impl Base {
    /// How long ago it was made: its token is the second.
    fn age(&self) -> Duration {
        now().saturating_sub(Duration::from_secs(self.token.into()))
    }
}

/// Makes moments, and reads them.
pub(crate) struct Moments {
    /// The cluster that bases are in.
    home: Arc<Inner>,
    layout: Layout,
    /// The newest last.
    bases: Mutex<VecDeque<Base>>,
    /// The lease of bases, which those of an hour have together, and until when it is used.
    lease: tokio::sync::Mutex<Option<(i64, Instant)>>,
}

impl Moments {
    pub(crate) fn new(home: Arc<Inner>, clusters: usize) -> Self {
        Self {
            home,
            layout: Layout::new(clusters),
            bases: Mutex::default(),
            lease: tokio::sync::Mutex::default(),
        }
    }

    /// The moment of these revisions, which is that of a batch of cluster `of`; not less than `after`.
    ///
    /// # Errors
    /// With four clusters or more, what the first cluster answers.
    pub(crate) async fn version(
        &self,
        revisions: &[u64],
        of: Option<usize>,
        after: Version,
        call: Call,
    ) -> Result<Version> {
        if !self.layout.has_token {
            return self.layout.pack(0, revisions, of).ok_or_else(|| {
                Error::internal("an etcd cluster is at a revision that does not fit into a moment")
            });
        }
        if let Some(version) = self.of_known(revisions, of, after) {
            return Ok(version);
        }
        let base = self.make_base(revisions, after, call).await?;
        let differences = vec![0; revisions.len()];
        let version = self.layout.pack(base.token, &differences, of);
        self.remember(base);
        version.ok_or_else(|| Error::internal("a moment without differences does not fit"))
    }

    fn of_known(&self, revisions: &[u64], of: Option<usize>, after: Version) -> Option<Version> {
        let bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.iter().rev().filter(|base| base.age() < FRESH).find_map(|base| {
            let differences: Option<Vec<u64>> = revisions
                .iter()
                .zip(&base.revisions)
                .map(|(revision, base)| revision.checked_sub(*base))
                .collect();
            self.layout.pack(base.token, &differences?, of).filter(|version| *version >= after)
        })
    }

    fn remember(&self, base: Base) {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if bases.iter().any(|other| other.token == base.token) {
            return;
        }
        if bases.len() == BASES {
            bases.pop_front();
        }
        let at = bases.partition_point(|other| other.token < base.token);
        bases.insert(at, base);
    }

    async fn make_base(&self, revisions: &[u64], after: Version, call: Call) -> Result<Base> {
        let lease = self.base_lease(call).await?;
        let least = if after.is_moment() { self.layout.token(after).saturating_add(1) } else { 0 };
        let first = u32::try_from(now().as_secs()).unwrap_or(u32::MAX).max(least);
        let value: Vec<u8> = revisions.iter().flat_map(|revision| revision.to_be_bytes()).collect();
        for token in first..first.saturating_add(TOKENS) {
            let key = self.home.keys.moment(token);
            let put = TxnOp::put(key.clone(), value.clone(), Some(PutOptions::new().with_lease(lease)));
            // One that is there with the same revisions, after a reply was lost, is as good; it is found by the next token.
            let txn =
                Txn::new().when(vec![Compare::create_revision(key, CompareOp::Equal, 0)]).and_then(vec![put]);
            let answer = self
                .home
                .connection
                .ask_kv(Ask::Repeatable, call, |mut kv| {
                    let txn = txn.clone();
                    async move { kv.txn(txn).await }
                })
                .await?;
            if answer.value.succeeded() {
                return Ok(Base { token, revisions: revisions.to_vec() });
            }
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            "too many scans and watches over several clusters begin in this second; try again",
        ))
    }

    async fn base_lease(&self, call: Call) -> Result<i64> {
        let mut lease = self.lease.lock().await;
        if let Some((id, until)) = *lease
            && Instant::now() < until
        {
            return Ok(id);
        }
        let ttl = KEPT + FRESH;
        let (id, _) = self.home.grant(|| ttl_lease(expiry_second(ttl, now())), ttl, call).await?;
        *lease = Some((id, Instant::now() + FRESH));
        Ok(id)
    }

    /// What a moment says; `None` for a version that is none.
    ///
    /// # Errors
    /// `Compacted` if nobody knows it any more, and what the first cluster answers.
    pub(crate) async fn read(&self, version: Version, call: Call) -> Result<Option<Moment>> {
        if !version.is_moment() {
            return Ok(None);
        }
        let mut moment = self.layout.unpack(version);
        if !self.layout.has_token {
            return Ok(Some(moment));
        }
        let base = self.base(self.layout.token(version), version, call).await?;
        for (revision, base) in moment.revisions.iter_mut().zip(&base.revisions) {
            *revision += base;
        }
        Ok(Some(moment))
    }

    async fn base(&self, token: u32, version: Version, call: Call) -> Result<Base> {
        let known = {
            let bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
            bases.iter().find(|base| base.token == token).cloned()
        };
        if let Some(base) = known {
            return Ok(base);
        }
        let key = self.home.keys.moment(token);
        let answer = self
            .home
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let key = key.clone();
                async move { kv.get(key, None).await }
            })
            .await?;
        let revisions: Option<Vec<u64>> = answer.value.kvs().first().map(|found| {
            found.value().as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect()
        });
        match revisions {
            Some(revisions) if revisions.len() == self.layout.clusters => {
                let base = Base { token, revisions };
                self.remember(base.clone());
                Ok(base)
            }
            _ => Err(Error::new(
                ErrorKind::Compacted,
                format!("the moment {version} is not known any more, or is of another store; begin again"),
            )),
        }
    }
}

/// Where everything is in a moment.
struct Layout {
    clusters: usize,
    has_token: bool,
    /// The bits of a revision.
    bits: u32,
    /// The bits below all revisions.
    low: u32,
}

impl Layout {
    fn new(clusters: usize) -> Self {
        let count = u32::try_from(clusters.max(1)).unwrap_or(u32::MAX);
        let has_token = clusters > FIT;
        let low = (count + 1).ilog2() + 2;
        let all = 127 - if has_token { TOKEN_BITS } else { 0 } - low;
        Self { clusters, has_token, bits: (all / count).min(63), low }
    }

    /// Where the revision of a cluster is: those of the first are the highest.
    fn shift(&self, cluster: usize) -> u32 {
        self.low + self.bits * u32::try_from(self.clusters - 1 - cluster).unwrap_or(0)
    }

    /// The moment of these numbers, if they fit.
    fn pack(&self, token: u32, numbers: &[u64], of: Option<usize>) -> Option<Version> {
        let mut whole = MARK | of.map_or(self.none(), |cluster| cluster as u128 + 1) << 1;
        if self.has_token {
            whole |= u128::from(token) << (127 - TOKEN_BITS);
        }
        for (cluster, number) in numbers.iter().enumerate() {
            if *number >= 1 << self.bits {
                return None;
            }
            whole |= u128::from(*number) << self.shift(cluster);
        }
        // The halves are 64 bits each.
        #[allow(clippy::cast_possible_truncation)]
        Some(Version::new((whole >> 64) as u64, whole as u64))
    }

    #[allow(clippy::cast_possible_truncation)] // masked
    fn unpack(&self, version: Version) -> Moment {
        let whole = whole(version);
        let mask = (1_u128 << self.bits) - 1;
        let revisions =
            (0..self.clusters).map(|cluster| (whole >> self.shift(cluster) & mask) as u64).collect();
        let of = whole >> 1 & self.none();
        let is_of_batch = whole & 1 == 0 && of != self.none();
        Moment { revisions, of: (of as usize).checked_sub(1).filter(|_| is_of_batch) }
    }

    /// What stands for the batch of no cluster.
    fn none(&self) -> u128 {
        (1 << (self.low - 1)) - 1
    }

    #[allow(clippy::cast_possible_truncation)] // 32 bits are left
    fn token(&self, version: Version) -> u32 {
        (whole(version) << 1 >> (128 - TOKEN_BITS)) as u32
    }
}

fn whole(version: Version) -> u128 {
    u128::from(version.term) << 64 | u128::from(version.index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::clusters::map::MAX_CLUSTERS;

    fn next(version: Version) -> Version {
        Version::new(version.term, version.index + 1)
    }

    #[test]
    fn two_and_three_clusters_fit_for_longer_than_anybody_lives() {
        assert_eq!((Layout::new(2).bits, Layout::new(3).bits), (62, 41));
        for clusters in 1..=MAX_CLUSTERS {
            let layout = Layout::new(clusters);
            assert!(layout.bits >= 1 && layout.none() > clusters as u128, "{clusters}");
        }
    }

    #[test]
    fn what_is_one_more_than_a_batch_is_after_it_and_the_batch_itself_is_told_again() {
        let layout = Layout::new(2);
        let batch = layout.pack(0, &[7, 9], Some(1)).unwrap();
        let (of, after) = (layout.unpack(batch), layout.unpack(next(batch)));
        assert_eq!((of.from(0), of.from(1)), (8, 9));
        assert_eq!((after.from(0), after.from(1)), (8, 10));
        let scan = layout.unpack(layout.pack(0, &[7, 9], None).unwrap());
        assert_eq!((scan.from(0), scan.from(1)), (8, 10));
    }

    #[test]
    fn a_token_is_found_again() {
        let layout = Layout::new(8);
        let version = layout.pack(0xdead_beef, &[1, 2, 3, 4, 5, 6, 7, 8], Some(7)).unwrap();
        assert_eq!(layout.token(version), 0xdead_beef);
        assert_eq!(layout.unpack(version).revisions, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(layout.pack(1, &[0, 0, 0, 0, 0, 0, 0, 1 << 20], None).is_none());
    }

    proptest! {
        #[test]
        fn a_moment_says_what_it_was_made_of_and_grows_with_it(
            clusters in 1..=MAX_CLUSTERS,
            seed in prop::collection::vec(any::<u64>(), MAX_CLUSTERS),
            of in any::<prop::sample::Index>(),
        ) {
            let layout = Layout::new(clusters);
            let most = (1_u64 << layout.bits) - 1;
            let revisions: Vec<u64> = seed.iter().take(clusters).map(|seed| seed % most).collect();
            let of = of.index(clusters);
            let moment = layout.pack(5, &revisions, Some(of)).unwrap();
            prop_assert!(moment.is_moment());
            prop_assert_eq!(layout.unpack(moment), Moment { revisions: revisions.clone(), of: Some(of) });
            prop_assert_eq!(layout.unpack(next(moment)).revisions, revisions.clone());
            let mut later = revisions.clone();
            later[of] += 1;
            let whole = layout.pack(5, &revisions, None).unwrap();
            for before in [None, Some(0), Some(clusters - 1)] {
                let before = layout.pack(5, &revisions, before).unwrap();
                prop_assert!(before <= whole);
                prop_assert!(next(before) < layout.pack(5, &later, Some(of)).unwrap());
            }
        }
    }
}
