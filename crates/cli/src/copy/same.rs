use norikv_core::{Call, Consistency, Delete, Get, Put, Result, Store as _, Ttl};
use norikv_etcd::{EtcdSettings, EtcdStore};

use super::note;

/// How long a probe stays at most, if nobody takes it away.
const PROBE: u64 = 60_000;

/// Whether the keys of one are among those of the other, if they are of one cluster.
pub(crate) fn overlap(from: &EtcdSettings, to: &EtcdSettings) -> bool {
    from.prefix.starts_with(&to.prefix) || to.prefix.starts_with(&from.prefix)
}

/// Whether one cluster has keys of both, whatever names its members go by.
///
/// # Errors
/// Whatever the clusters answer.
pub(crate) async fn share_keys(from: &[EtcdSettings], to: &[EtcdSettings], call: Call) -> Result<bool> {
    for from in from {
        for to in to {
            if overlap(from, to) && is_one(from, to, call).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether two addresses lead to one cluster.
async fn is_one(from: &EtcdSettings, to: &EtcdSettings, call: Call) -> Result<bool> {
    // Both may use the keys of the longer prefix.
    let prefix = if from.prefix.len() > to.prefix.len() { &from.prefix } else { &to.prefix };
    let at =
        |settings: &EtcdSettings| EtcdStore::new(EtcdSettings { prefix: prefix.clone(), ..settings.clone() });
    let (from, to) = (at(from)?, at(to)?);
    let done = async {
        // Two clusters may have the same id: it is made of a token and of the addresses of members, which both are the same wherever
        // nobody has set them.
        Ok(from.cluster_id(call).await? == to.cluster_id(call).await? && sees(&from, &to, call).await?)
    };
    let done = done.await;
    let (from, to) = (from.close().await, to.close().await);
    done.and_then(|one| from.and(to).map(|()| one))
}

/// Whether one sees what the other writes.
async fn sees(from: &EtcdStore, to: &EtcdStore, call: Call) -> Result<bool> {
    let key = [note::PREFIX, format!("probe {:016x}", fastrand::u64(..)).as_bytes()].concat();
    let put = Put { ttl: Some(Ttl::from_millis(PROBE)?), ..Put::new(key.clone(), Vec::new()) };
    to.put(put, call).await?;
    let get = Get { key: key.clone().into(), consistency: Consistency::Linearizable };
    let seen = from.get(get, call).await;
    to.delete(Delete::new(key), call).await?;
    Ok(seen?.is_some())
}
