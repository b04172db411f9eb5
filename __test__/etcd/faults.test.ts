// A cluster of three whose members are killed, stand still, and are cut off, while a client counts and another watches.
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { NoriKVError } from '@norikv/client';
import type { Entry, NoriKVClient, WatchBatch } from '@norikv/client';
import { World } from '../api/world';
import { Proxy } from '../faults/proxy';
import { Cluster, addressOf } from './cluster';

/** How often something happens to a member, and how long it lasts, in milliseconds. */
const LONG = process.env.NORIKV_LONG === '1';
const ROUNDS = LONG ? 24 : 3;
const BETWEEN_MS = LONG ? 2500 : 500;
const CALLERS = 8;

/** The counter: a number, and whose increment made it. */
interface Count {
  readonly n: number;
  readonly by: string;
}

/** What became of the increments. */
interface Outcomes {
  readonly done: Set<string>;
  /** They may have taken place. */
  readonly unknown: Set<string>;
  readonly failed: Map<string, NoriKVError>;
}

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ members: 3 });
}, 60_000);
afterAll(() => cluster.stop());

/** Increments with several callers until it is told to end. */
function counting(client: NoriKVClient): { end(): Promise<Outcomes> } {
  let going = true;
  const outcomes: Outcomes = { done: new Set(), unknown: new Set(), failed: new Map() };
  const callers = Array.from({ length: CALLERS }, async (_, caller) => {
    for (let at = 0; going; at++) {
      const by = `${caller}.${at}`;
      const add = (entry: Entry | null): string => {
        const n = (entry?.json<Count>().n ?? 0) + 1;
        return JSON.stringify({ n, by } satisfies Count);
      };
      try {
        await client.update('counter', add);
        outcomes.done.add(by);
      } catch (error) {
        if (!(error instanceof NoriKVError)) throw error;
        if (error.outcome === 'unknown') outcomes.unknown.add(by);
        else outcomes.failed.set(by, error);
      }
      await wait(1);
    }
  });
  return {
    async end() {
      going = false;
      await Promise.all(callers);
      return outcomes;
    },
  };
}

/** All that a watch tells, until the counter is at a number. */
async function told(watch: AsyncIterable<WatchBatch>, last: number): Promise<Count[]> {
  const counts: Count[] = [];
  let before = 0n;
  for await (const { version, events } of watch) {
    if (events.length === 0) continue;
    expect(version.index).toBeGreaterThan(before);
    before = version.index;
    counts.push(...events.map(({ entry }) => entry.json<Count>()));
    if ((counts.at(-1)?.n ?? 0) >= last) break;
  }
  return counts;
}

/** Counts and watches while something happens to the members, and checks that all of it is there, once and in order. */
async function survives(
  counter: NoriKVClient,
  watcher: NoriKVClient,
  happening: () => Promise<void>,
): Promise<void> {
  await using watch = watcher.watch({ key: 'counter' });
  await watch.ready;
  const work = counting(counter);
  await happening();
  const { done, unknown, failed } = await work.end();
  const { n: last } = (await counter.get('counter')).json<Count>();
  const counts = await told(watch, last);

  // Each number once, in order; and with it, that no increment was made on an old count.
  expect(counts.map(({ n }) => n)).toEqual(Array.from({ length: last }, (_, at) => at + 1));
  const by = counts.map((count) => count.by);
  const there = new Set(by);
  expect(there.size).toBe(by.length);
  expect([...done].filter((each) => !there.has(each))).toEqual([]);
  // What is there was acknowledged, or nobody knew.
  expect([...there].filter((each) => !done.has(each) && !unknown.has(each))).toEqual([]);
  expect([...failed.keys()].filter((each) => there.has(each))).toEqual([]);
  expect(done.size).toBeGreaterThan(ROUNDS * 10);
  process.stderr.write(`${done.size} done, ${unknown.size} unknown, ${failed.size} failed\n`);
}

describe('counters end exact and watches tell each change once, in order, while', () => {
  const LIMIT_MS = ROUNDS * (2 * BETWEEN_MS + 10_000) + 30_000;
  let world: World;
  let prefixes = 0;
  const opened = async (endpoints: readonly string[]): Promise<[NoriKVClient, NoriKVClient]> => {
    const address = addressOf(endpoints, `faults${++prefixes}/`);
    const config = { address, timeout: 10_000 };
    return [await world.client(config), await world.client(config)];
  };
  beforeAll(() => {
    world = new World();
  });
  afterAll(() => world.close());

  test(
    'one member after the other is killed and started again',
    async () => {
      const [counter, watcher] = await opened(cluster.endpoints);
      await survives(counter, watcher, async () => {
        for (let round = 0; round < ROUNDS; round++) {
          const member = cluster.members[round % 3];
          await wait(BETWEEN_MS);
          await member?.kill();
          await wait(BETWEEN_MS);
          await member?.start();
        }
      });
    },
    LIMIT_MS,
  );

  test(
    'one member after the other stands still',
    async () => {
      const [counter, watcher] = await opened(cluster.endpoints);
      await survives(counter, watcher, async () => {
        for (let round = 0; round < ROUNDS; round++) {
          const member = cluster.members[round % 3];
          await wait(BETWEEN_MS);
          member?.pause();
          await wait(2 * BETWEEN_MS);
          member?.resume();
        }
      });
    },
    LIMIT_MS,
  );

  test(
    'the connections to all members are cut, and some are refused for a while',
    async () => {
      const proxies = await Promise.all(cluster.endpoints.map((each) => Proxy.start(each)));
      world.later(() => Promise.all(proxies.map((proxy) => proxy.stop().catch(() => undefined))));
      const [counter, watcher] = await opened(proxies.map(({ address }) => address));
      await survives(counter, watcher, async () => {
        for (let round = 0; round < 2 * ROUNDS; round++) {
          const away = proxies[round % 3];
          await wait(BETWEEN_MS / 2);
          for (const proxy of proxies) proxy.cut();
          await away?.stop();
          await wait(BETWEEN_MS / 2);
          await away?.accept();
        }
      });
    },
    LIMIT_MS,
  );
});
