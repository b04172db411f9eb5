// classic-level (LevelDB). `sync: true` writes to disk before it answers.
import { ClassicLevel } from 'classic-level';

export async function open({ directory, sync = false }) {
  const db = new ClassicLevel(directory, { valueEncoding: 'buffer' });
  await db.open();
  return {
    get: (key) => db.get(key),
    put: (key, value) => db.put(key, value, { sync }),
    load: (pairs) => db.batch(pairs.map(([key, value]) => ({ type: 'put', key, value }))),
    close: () => db.close(),
  };
}
