// lmdb: `flushed` awaits the disk, as its manual says to; `noSync` leaves that to the system.
import { open as openLmdb } from 'lmdb';

export async function open({ directory, durability }) {
  const db = openLmdb({
    path: directory,
    encoding: 'binary',
    mapSize: 1 << 30,
    noSync: durability === 'noSync',
  });
  const flushed = async (key, value) => {
    await db.put(key, value);
    await db.flushed;
  };
  return {
    get: (key) => db.get(key),
    put: durability === 'flushed' ? flushed : (key, value) => db.put(key, value),
    load: (pairs) => db.transaction(() => pairs.forEach(([key, value]) => db.put(key, value))),
    close: () => db.close(),
  };
}
