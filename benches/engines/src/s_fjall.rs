use crate::store::*;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::path::Path;

pub struct Fjall {
    db: Database,
    ks: Vec<Keyspace>,
}

impl Store for Fjall {
    fn open(dir: &Path) -> Res<Self> {
        if std::env::var_os("JOURNAL_CHECK").is_some() && dir.exists() {
            let torn = crate::journal_check::check(dir).map_err(|x| format!("our journal check: {x}"))?;
            if let Some((path, at)) = torn {
                let f = std::fs::OpenOptions::new().write(true).open(path).map_err(e)?;
                f.set_len(at).and_then(|()| f.sync_all()).map_err(e)?;
            }
        }
        let db = Database::builder(dir)
            .cache_size(256 << 20)
            .max_journaling_size(128 << 20)
            .worker_threads(2)
            .open()
            .map_err(e)?;
        let mut ks = vec![];
        for (i, t) in TABLES.iter().enumerate() {
            let k = db
                .keyspace(t, || {
                    KeyspaceCreateOptions::default()
                        .max_memtable_size(16 << 20)
                        .expect_point_read_hits(i == ENTRIES)
                })
                .map_err(e)?;
            ks.push(k);
        }
        Ok(Self { db, ks })
    }
    fn commit(&self, ops: Vec<Op>, sync: bool) -> Res<()> {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut b = self.db.batch().durability(Some(mode));
        for op in ops {
            match op.val {
                Some(v) => b.insert(&self.ks[op.table], op.key, v),
                None => b.remove(&self.ks[op.table], op.key),
            }
        }
        b.commit().map_err(e)
    }
    fn get(&self, table: usize, key: &[u8]) -> Res<Option<Vec<u8>>> {
        Ok(self.ks[table].get(key).map_err(e)?.map(|v| v.to_vec()))
    }
    fn reads(&self, keys: &[Vec<u8>], held: bool) -> Res<usize> {
        let k = &self.ks[ENTRIES];
        let mut n = 0;
        let snap = self.db.snapshot();
        for key in keys {
            let v = if held {
                snap.get(k, key).map_err(e)?
            } else {
                self.db.snapshot().get(k, key).map_err(e)?
            };
            n += v.is_some() as usize;
        }
        Ok(n)
    }
    fn scan(&self, table: usize, start: &[u8], n: usize, f: &mut dyn FnMut(&[u8], &[u8])) -> Res<usize> {
        let mut c = 0;
        for g in self.db.snapshot().range(&self.ks[table], start..).take(n) {
            let (k, v) = g.into_inner().map_err(e)?;
            f(&k, &v);
            c += 1;
        }
        Ok(c)
    }
    fn compact(&mut self) -> Res<()> {
        for k in &self.ks {
            k.rotate_memtable_and_wait().map_err(e)?;
            k.major_compact().map_err(e)?;
        }
        Ok(())
    }
    fn settle(&self) -> Res<()> {
        for k in &self.ks {
            k.rotate_memtable_and_wait().map_err(e)?;
        }
        Ok(())
    }
}

/// Time to create a store, by number of keyspaces.
pub fn create(root: &Path) {
    for n in [0, 1, 2, 3, 5] {
        let mut v = vec![];
        for _ in 0..7 {
            let d = root.join("create");
            crate::load::rm(&d);
            let t = std::time::Instant::now();
            let db = Database::builder(&d).worker_threads(1).open().unwrap();
            for t in &TABLES[..n] {
                db.keyspace(t, KeyspaceCreateOptions::default).unwrap();
            }
            v.push(t.elapsed().as_secs_f64() * 1e3);
            drop(db);
            crate::load::rm(&d);
        }
        println!("fjall|create with {n} keyspaces ms|{:.1}", crate::load::med(v));
    }
}
