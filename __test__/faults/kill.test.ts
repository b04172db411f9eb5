// A server that is killed while it is written to. NORIKV_KILL_ROUNDS says how often.
import { expect, test } from '@jest/globals';
import { InvalidArgumentError, NoriKVClient, NoriKVError } from '@norikv/client';
import type { Entry, Version } from '@norikv/client';
import { serve, temporary } from './children';

const rounds = Number(process.env.NORIKV_KILL_ROUNDS ?? 50);
const writers = 16;

/** A write, and its version once it was acknowledged. */
interface Write {
  readonly value: string;
  readonly idempotencyKey: string | undefined;
  version?: Version;
  error?: unknown;
}

/** What one key must be: its last acknowledged write, or the one after it whose outcome nobody knows. */
interface Key {
  readonly name: string;
  acknowledged?: Write;
  open?: Write;
}

/** A value that shows whether it is whole. */
function valueOf(seed: string): string {
  return `${seed}|${seed.repeat(40)}|${seed}`;
}

/** Each key has a writer that writes one thing after the other, until the server is gone. */
async function writeUntilGone(
  client: NoriKVClient,
  keys: readonly Key[],
  round: number,
  acknowledged: () => void,
): Promise<void> {
  await Promise.all(
    keys.map(async (key) => {
      for (let at = 0; ; at++) {
        const seed = `${key.name}:${round}:${at}`;
        const idempotencyKey = at % 3 === 0 ? `once:${seed}` : undefined;
        const write: Write = { value: valueOf(seed), idempotencyKey };
        key.open = write;
        try {
          write.version = await client.put(key.name, write.value, { idempotencyKey });
        } catch (error) {
          write.error = error;
          return;
        }
        key.acknowledged = write;
        delete key.open;
        acknowledged();
      }
    }),
  );
}

/** What must hold of a key after the server is back. */
function check(key: Key, entry: Entry | null): void {
  const { acknowledged, open } = key;
  const text = entry?.text();
  if (open !== undefined && text === open.value) {
    expect(open.error).toMatchObject({ outcome: 'unknown' });
    if (acknowledged?.version !== undefined) {
      expect(entry!.version.compare(acknowledged.version)).toBe(1);
    }
    return;
  }
  expect(text).toBe(acknowledged?.value);
  expect(entry?.version.toString()).toBe(acknowledged?.version?.toString());
}

/** Repeats the last writes of a key that carried an idempotency key. */
async function repeat(client: NoriKVClient, key: Key, entry: Entry | null): Promise<void> {
  for (const write of [key.acknowledged, key.open]) {
    if (write?.idempotencyKey === undefined) continue;
    const { idempotencyKey } = write;
    const version = await client.put(key.name, write.value, { idempotencyKey });
    if (write.version !== undefined) expect(version.equals(write.version)).toBe(true);
    else if (entry?.text() === write.value) expect(version.equals(entry.version)).toBe(true);
    expect((await client.put(key.name, write.value, { idempotencyKey })).equals(version)).toBe(
      true,
    );
    const other = client.put(key.name, 'another value', { idempotencyKey });
    await expect(other).rejects.toBeInstanceOf(InvalidArgumentError);
  }
}

test(
  `kill -9 under write load, ${rounds} times: what was acknowledged is there, nothing is half there`,
  async () => {
    const store = `file:${temporary()}`;
    const keys: Key[] = Array.from({ length: writers }, (_, at) => ({ name: `key:${at}` }));
    let total = 0;
    for (let round = 0; round < rounds; round++) {
      const server = await serve(store);
      const client = new NoriKVClient({ nodes: [server.address], retry: { maxAttempts: 1 } });

      const entries = await client.getMany(keys.map(({ name }) => name));
      entries.forEach((entry, at) => {
        check(keys[at]!, entry);
      });
      expect(await client.count({})).toBe(entries.filter((entry) => entry !== null).length);
      await Promise.all(keys.map((key, at) => repeat(client, key, entries[at] ?? null)));
      const settled = await client.getMany(keys.map(({ name }) => name));
      keys.forEach((key, at) => {
        const entry = settled[at];
        if (entry === null || entry === undefined) return;
        key.acknowledged = {
          value: entry.text(),
          version: entry.version,
          idempotencyKey: undefined,
        };
        delete key.open;
      });

      const enough = 1 + Math.floor(Math.random() * 200);
      let seen = 0;
      await writeUntilGone(client, keys, round, () => {
        total++;
        if (++seen === enough) server.kill('SIGKILL');
      });
      for (const { open } of keys) expect(open?.error).toBeInstanceOf(NoriKVError);
      expect(await server.ended).toEqual({ code: null, signal: 'SIGKILL' });
      await client.close();
    }
    expect(total).toBeGreaterThanOrEqual(rounds);
  },
  Math.max(60_000, rounds * 3000),
);
