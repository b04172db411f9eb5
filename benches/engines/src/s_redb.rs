use crate::store::*;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

type Def = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub struct Redb {
    db: Database,
    defs: Vec<Def>,
    quick: bool,
}

impl Store for Redb {
    fn open(dir: &Path) -> Res<Self> {
        std::fs::create_dir_all(dir).map_err(e)?;
        let mut b = Database::builder();
        b.set_cache_size(256 << 20);
        if std::env::var_os("REDB_CHECK_ON_OPEN").is_some() {
            b.set_check_integrity_on_open(true);
        }
        let db = b.create(dir.join("db.redb")).map_err(e)?;
        let defs: Vec<Def> = TABLES.iter().map(|t| TableDefinition::new(t)).collect();
        let have = db.begin_read().map_err(e)?.list_tables().map_err(e)?.count();
        if have < TABLES.len() {
            let w = db.begin_write().map_err(e)?;
            for d in &defs {
                w.open_table(*d).map_err(e)?;
            }
            w.commit().map_err(e)?;
        }
        Ok(Self { db, defs, quick: std::env::var_os("REDB_QUICK").is_some() })
    }
    fn commit(&self, ops: Vec<Op>, sync: bool) -> Res<()> {
        let mut w = self.db.begin_write().map_err(e)?;
        w.set_durability(if sync { Durability::Immediate } else { Durability::None }).map_err(e)?;
        if self.quick && sync {
            w.set_quick_repair(true);
        }
        for (i, d) in self.defs.iter().enumerate() {
            let mut it = ops.iter().filter(|o| o.table == i).peekable();
            if it.peek().is_none() {
                continue;
            }
            let mut t = w.open_table(*d).map_err(e)?;
            for op in it {
                match &op.val {
                    Some(v) => drop(t.insert(&op.key[..], &v[..]).map_err(e)?),
                    None => drop(t.remove(&op.key[..]).map_err(e)?),
                }
            }
        }
        w.commit().map_err(e)
    }
    fn get(&self, table: usize, key: &[u8]) -> Res<Option<Vec<u8>>> {
        let r = self.db.begin_read().map_err(e)?;
        let t = r.open_table(self.defs[table]).map_err(e)?;
        let v = t.get(key).map_err(e)?;
        Ok(v.map(|v| v.value().to_vec()))
    }
    fn reads(&self, keys: &[Vec<u8>], held: bool) -> Res<usize> {
        let mut n = 0;
        if held {
            let r = self.db.begin_read().map_err(e)?;
            let t = r.open_table(self.defs[ENTRIES]).map_err(e)?;
            for k in keys {
                n += t.get(&k[..]).map_err(e)?.map(|v| v.value().to_vec()).is_some() as usize;
            }
        } else {
            for k in keys {
                n += self.get(ENTRIES, k)?.is_some() as usize;
            }
        }
        Ok(n)
    }
    fn scan(&self, table: usize, start: &[u8], n: usize, f: &mut dyn FnMut(&[u8], &[u8])) -> Res<usize> {
        let r = self.db.begin_read().map_err(e)?;
        let t = r.open_table(self.defs[table]).map_err(e)?;
        let mut c = 0;
        let it = ReadableTable::range::<&[u8]>(&t, start..).map_err(e)?;
        for g in it.take(n) {
            let (k, v) = g.map_err(e)?;
            f(k.value(), v.value());
            c += 1;
        }
        Ok(c)
    }
    fn compact(&mut self) -> Res<()> {
        self.db.compact().map_err(e).map(|_| ())
    }
    fn check(&mut self) -> Res<()> {
        match self.db.check_integrity().map_err(e)? {
            true => Ok(()),
            false => Err("check_integrity=false (repaired)".into()),
        }
    }
}
