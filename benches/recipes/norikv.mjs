// Our recipes, over gRPC or in the process: `config` is what the client takes. Each is made when it is first used.
import { NoriKVClient } from '../../dist/index.mjs';
import * as recipes from '../../dist/recipes/index.js';
import { EVENTS, LIMIT, eventData, idOf, keyOf, profile, LOCAL_KEYS } from './work.mjs';

const APPENDED_AT_ONCE = 100;

export async function open({ config }) {
  const client = await NoriKVClient.open({ timeout: 60_000, ...config });
  const made = new Map();
  const use = (name, make) => {
    if (!made.has(name)) made.set(name, make());
    return made.get(name);
  };
  const limiter = () => use('limiter', () => new recipes.RateLimiter(client));
  const sharded = () => use('sharded', () => new recipes.ShardedCounter(client, 'bench', 10));
  const events = () => use('events', () => new recipes.EventStore(client));

  let cache;
  async function fill() {
    const cached = new recipes.CachedClient(client, 60_000, LOCAL_KEYS);
    await Promise.all(
      Array.from({ length: LOCAL_KEYS }, (_, n) => client.put(keyOf(n), JSON.stringify(profile))),
    );
    const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
    for (let n = 0; n < LOCAL_KEYS; n++) await cached.get(keyOf(n), parse);
    cache = { cached, parse };
  }

  async function filledHistory() {
    for (let from = 0; from < EVENTS; from += APPENDED_AT_ONCE) {
      const some = Array.from({ length: APPENDED_AT_ONCE }, (_, at) => ({
        type: 'Deposited',
        data: eventData(from + at),
      }));
      await events().appendAll('history', some);
    }
  }

  async function read() {
    await use('history', filledHistory);
    const all = await events().getEvents('history');
    if (all.length !== EVENTS) throw new Error(`error: ${all.length} events were read`);
  }

  return {
    async lock() {
      const lock = use(
        'lock',
        () => new recipes.DistributedLock(client, { key: 'bench', ttlMs: 10_000 }),
      );
      await lock.lock();
      await lock.unlock();
    },
    checkMany: (n) => limiter().checkLimit(idOf(n), LIMIT),
    checkOne: () => limiter().checkLimit('one', LIMIT),
    increment: () => sharded().increment(),
    // No async function, which would cost as much as what is measured.
    hit: (n) =>
      cache === undefined ? fill() : cache.cached.get(keyOf(n % LOCAL_KEYS), cache.parse),
    append: (n) => events().append('appended', 'Deposited', eventData(n)),
    read,
    readAtOnce: read,
    close: () => client.close(),
  };
}
