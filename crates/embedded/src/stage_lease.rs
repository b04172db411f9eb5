//! What the writer does with leases.

use std::{
    collections::BTreeSet,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, LeaseGrant, LeaseGranted, LeaseId, Order, Result, Version};

use crate::{
    engine::{Cell, Table},
    keys,
    lease::{MAX_LEASES, encode_ttl},
    log::Change,
    stage::{Fate, Group},
};

impl Group<'_> {
    pub(crate) fn grant(&mut self, grant: LeaseGrant) -> Result<LeaseGranted> {
        if self.shared().leases.len() + self.leases.granted.len() >= MAX_LEASES {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the store has {MAX_LEASES} leases, the most it takes; revoke some, or let them run out"
                ),
            ));
        }
        let taken = |id: &LeaseId| self.shared().leases.has(*id) || self.leases.granted.contains_key(id);
        let id = match grant.id {
            Some(id) if taken(&id) => {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("there is a lease {id} already; choose another id, or let the store choose"),
                ));
            }
            Some(id) => id,
            None => loop {
                // Below 2^63, as etcd has them: some languages have no unsigned numbers.
                let id = LeaseId::new(fastrand::u64(..) >> 1);
                if let Some(id) = id.filter(|id| !taken(id)) {
                    break id;
                }
            },
        };
        self.leases.granted.insert(id, grant.ttl);
        self.set_row(keys::lease(id), Some(encode_ttl(grant.ttl)));
        Ok(LeaseGranted { id, ttl: grant.ttl.as_duration() })
    }

    /// Refuses a lease that is not there.
    pub(crate) fn check_lease(&self, id: LeaseId) -> Result<()> {
        let granted = self.leases.granted.contains_key(&id) || self.shared().leases.is_alive(id);
        if granted && !self.leases.ended.contains(&id) { Ok(()) } else { Err(Error::lease_not_found(id)) }
    }

    pub(crate) fn revoke(&mut self, id: LeaseId) -> Result<Version> {
        self.check_lease(id)?;
        self.end_lease(id)?;
        Ok(self.version(self.revision()))
    }

    /// Ends the leases that have run out, up to a number: the next group ends the others.
    pub(crate) fn sweep_leases(&mut self, most: usize) -> Result<()> {
        self.shared().leases.due(most).into_iter().try_for_each(|id| self.end_lease(id))
    }

    /// Ends a lease: its keys go in one revision.
    fn end_lease(&mut self, id: LeaseId) -> Result<()> {
        let mut keys: BTreeSet<Bytes> = BTreeSet::new();
        let (start, end) = (keys::lease_key(id, b""), keys::lease_keys_end(id));
        let bounds = (Bound::Included(&*start), Bound::Excluded(&*end));
        self.engine().scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, _| {
            keys.extend(keys::parse_lease_key(&row).map(Bytes::copy_from_slice));
            ControlFlow::Continue(())
        })?;
        keys.extend(self.leases.keys.get(&id).into_iter().flatten().cloned());
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            // A key that was put again since belongs to whom its record says.
            if let Some(record) = self.stored(&key)?.filter(|(record, _)| record.lease == Some(id)) {
                found.push((key, record));
            }
        }
        if !found.is_empty() {
            self.advance();
            for (key, record) in found {
                self.make(&key, Some(record), Fate::Gone(Change::LeaseEnd));
            }
        }
        self.leases.ended.insert(id);
        self.set_row(keys::lease(id), None);
        Ok(())
    }
}
