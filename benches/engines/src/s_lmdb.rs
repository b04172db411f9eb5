use crate::store::*;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, WithoutTls};
use std::ops::Bound;
use std::path::Path;

type Db = Database<'static, Bytes, Bytes>;

pub struct Lmdb {
    env: &'static Env<WithoutTls>,
    dbs: Vec<Db>,
    nosync: std::sync::atomic::AtomicBool,
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        self.dbs.clear();
        // the environment was leaked in `open`, so that the handles could live beside it
        let p = self.env as *const Env<WithoutTls> as *mut Env<WithoutTls>;
        unsafe { drop(Box::from_raw(p)) };
    }
}

impl Store for Lmdb {
    fn open(dir: &Path) -> Res<Self> {
        std::fs::create_dir_all(dir).map_err(e)?;
        let env = unsafe {
            EnvOpenOptions::new()
                .read_txn_without_tls()
                .map_size(16 << 30)
                .max_dbs(8)
                .open(dir)
                .map_err(e)?
        };
        let env: &'static Env<WithoutTls> = Box::leak(Box::new(env));
        let w = env.write_txn().map_err(e)?;
        let dbs = env
            .create_databases_and_commit(w, |o, w| {
                let mut v = vec![];
                for t in TABLES {
                    v.push(o.create_database::<Bytes, Bytes>(w, Some(t))?);
                }
                let [a, b, c, d, f]: [_; 5] = v.try_into().ok().unwrap();
                heed::Result::Ok(CommitOrAbort::<_, ()>::Commit((a, b, c, d, f)))
            })
            .map_err(e)?
            .unwrap_commit();
        let dbs = vec![dbs.0, dbs.1, dbs.2, dbs.3, dbs.4];
        Ok(Self { env, dbs, nosync: false.into() })
    }
    fn commit(&self, ops: Vec<Op>, sync: bool) -> Res<()> {
        if self.nosync.swap(!sync, std::sync::atomic::Ordering::Relaxed) == sync {
            let m = if sync { FlagSetMode::Disable } else { FlagSetMode::Enable };
            unsafe { self.env.set_flags(EnvFlags::NO_SYNC, m).map_err(e)? };
        }
        let mut w = self.env.write_txn().map_err(e)?;
        for op in ops {
            let d = &self.dbs[op.table];
            match op.val {
                Some(v) => d.put(&mut w, &op.key, &v).map_err(e)?,
                None => drop(d.delete(&mut w, &op.key).map_err(e)?),
            }
        }
        w.commit().map_err(e)
    }
    fn get(&self, table: usize, key: &[u8]) -> Res<Option<Vec<u8>>> {
        let r = self.env.read_txn().map_err(e)?;
        Ok(self.dbs[table].get(&r, key).map_err(e)?.map(|v| v.to_vec()))
    }
    fn reads(&self, keys: &[Vec<u8>], held: bool) -> Res<usize> {
        let mut n = 0;
        if held {
            let r = self.env.read_txn().map_err(e)?;
            for k in keys {
                n += self.dbs[ENTRIES].get(&r, k).map_err(e)?.map(|v| v.to_vec()).is_some() as usize;
            }
        } else {
            for k in keys {
                n += self.get(ENTRIES, k)?.is_some() as usize;
            }
        }
        Ok(n)
    }
    fn scan(&self, table: usize, start: &[u8], n: usize, f: &mut dyn FnMut(&[u8], &[u8])) -> Res<usize> {
        let r = self.env.read_txn().map_err(e)?;
        let mut c = 0;
        // LMDB refuses an empty key, even as a bound
        let lo = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let b = (lo, Bound::Unbounded);
        for g in self.dbs[table].range(&r, &b).map_err(e)?.take(n) {
            let (k, v) = g.map_err(e)?;
            f(k, v);
            c += 1;
        }
        Ok(c)
    }
    fn compact(&mut self) -> Res<()> {
        Err("LMDB never shrinks its file; only copy_to_path(Compact) and swap".into())
    }
}
