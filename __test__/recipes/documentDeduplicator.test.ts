// The model of these tests is a hashed bag of words: see examples/lib/words.ts.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { DocumentDeduplicator } from '@norikv/client/recipes';
import { words } from '../../examples/lib/words';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

const fox = 'The quick brown fox jumps over the lazy dog.';
const fox2 = 'The quick brown fox jumps over the very lazy dog.';
const tea = 'Tea grows on hills in the rain.';

describe.each([memory, servedFile].filter((kind) => kind.vectors))('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  let dedup: DocumentDeduplicator;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
    dedup = new DocumentDeduplicator(client, words, 0.8);
    await dedup.initialize();
  });
  afterEach(() => world.close());

  const stored = async (): Promise<string[]> => {
    const entries = await client.scan({ prefix: 'dedup/doc_fingerprints/doc/' }).toArray();
    return entries.map((entry) => entry.keyText().slice('dedup/doc_fingerprints/doc/'.length));
  };
  const left = (): Promise<number> => client.count({ prefix: 'dedup/doc_fingerprints/todo/' });

  test('a near-duplicate is told, another document is stored', async () => {
    const first = await dedup.checkAndStore('d1', fox);
    expect(first).toEqual({ isDuplicate: false, duplicateOf: null, similarity: 0 });
    const second = await dedup.checkAndStore('d2', fox2);
    expect(second).toMatchObject({ isDuplicate: true, duplicateOf: 'd1' });
    expect(second.similarity).toBeGreaterThanOrEqual(0.8);
    expect(second.similarity).toBeLessThan(1);
    expect(await dedup.checkAndStore('d3', tea)).toMatchObject({ isDuplicate: false });
    expect(await stored()).toEqual(['d1', 'd3']);
  });

  test('a document checked again is not its own duplicate (the naive one is)', async () => {
    await dedup.checkAndStore('d1', fox);
    expect(await dedup.checkAndStore('d1', fox)).toMatchObject({ isDuplicate: false });
    expect(await dedup.checkAndStore('d1', fox2)).toMatchObject({ isDuplicate: false });
    expect(await dedup.checkAndStore('d2', fox2)).toMatchObject({ duplicateOf: 'd1' });
  });

  test('of two near-duplicates at once one is stored, and the other is told (the naive ones both are stored)', async () => {
    const gate = gated(client);
    const mine = new DocumentDeduplicator(gate.client, words, 0.8);
    // Mine has searched and found nothing: theirs comes before it is stored.
    gate.beforeNext('commit', () => dedup.checkAndStore('theirs', fox));
    expect(await mine.checkAndStore('mine', fox2)).toMatchObject({
      isDuplicate: true,
      duplicateOf: 'theirs',
    });
    expect(await stored()).toEqual(['theirs']);
    const others = Array.from({ length: 5 }, () => new DocumentDeduplicator(client, words, 0.8));
    const outcomes = await Promise.all(
      others.flatMap((other, at) => [
        other.checkAndStore(`t${at}`, tea),
        other.checkAndStore(`u${at}`, tea),
      ]),
    );
    expect(outcomes.filter(({ isDuplicate }) => !isDuplicate)).toHaveLength(1);
    expect(await stored()).toHaveLength(2);
    expect(await left()).toBe(0);
  });

  test('of two at once, one is told also while the vector of the other is not there yet', async () => {
    const gate = gated(client);
    const mine = new DocumentDeduplicator(gate.client, words, 0.8);
    await mine.initialize();
    let theirs: unknown;
    gate.beforeNext('vectorInsert', async () => {
      theirs = await dedup.checkAndStore('theirs', fox2);
    });
    expect(await mine.checkAndStore('mine', fox)).toMatchObject({ isDuplicate: false });
    expect(theirs).toMatchObject({ isDuplicate: true, duplicateOf: 'mine' });
    expect(await left()).toBe(0);
  });

  test('who stopped after the decision holds up nobody, and its document counts', async () => {
    const gate = gated(client);
    const stopped = new DocumentDeduplicator(gate.client, words, 0.8);
    await stopped.initialize();
    gate.beforeNext('vectorInsert', () => Promise.reject(new Error('stopped')));
    await expect(stopped.checkAndStore('d1', fox)).rejects.toThrow('stopped');
    expect(await left()).toBe(1);
    expect(await dedup.checkAndStore('d2', fox2)).toMatchObject({ duplicateOf: 'd1' });
    expect(await left()).toBe(0);
    // Its own repeat is no duplicate either.
    expect(await stopped.checkAndStore('d1', fox)).toMatchObject({ isDuplicate: false });
  });

  test('what was removed is no longer in the way', async () => {
    await dedup.checkAndStore('d1', fox);
    expect(await dedup.removeDocument('d1')).toBe(true);
    expect(await dedup.removeDocument('d1')).toBe(false);
    expect(await dedup.checkAndStore('d2', fox2)).toMatchObject({ isDuplicate: false });
    expect(await stored()).toEqual(['d2']);
  });

  test('with a threshold of 1 only the same is a duplicate', async () => {
    const strict = new DocumentDeduplicator(client, words, 1, { namespace: 'strict' });
    await strict.checkAndStore('d1', fox);
    expect(await strict.checkAndStore('d2', fox2)).toMatchObject({ isDuplicate: false });
    expect(await strict.checkAndStore('d3', fox)).toMatchObject({ duplicateOf: 'd1' });
  });

  test('storing takes five round trips, a duplicate three', async () => {
    const gate = gated(client);
    const mine = new DocumentDeduplicator(gate.client, words, 0.8);
    await mine.initialize();
    let before = gate.total();
    await mine.checkAndStore('d1', fox);
    expect(gate.total() - before).toBe(5);
    before = gate.total();
    await mine.checkAndStore('d2', fox2);
    expect(gate.total() - before).toBe(3);
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const threshold of [0, -1, 1.1, Number.NaN, '0.9', undefined] as number[]) {
      expect(() => new DocumentDeduplicator(client, words, threshold)).toThrow(
        InvalidArgumentError,
      );
    }
    for (const id of ['', undefined, 5, '\ud800', 'x'.repeat(257)] as string[]) {
      await expect(dedup.checkAndStore(id, fox)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(dedup.removeDocument(id)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    const text = undefined as unknown as string;
    await expect(dedup.checkAndStore('d', text)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await client.count({ prefix: 'dedup/' })).toBe(0);
    for (const id of ['a/b', 'a:b', 'a%2Fb', 'constructor', '__proto__']) {
      await dedup.checkAndStore(id, `nothing like ${xid(id)}`);
      expect(await dedup.checkAndStore(`${id}2`, `nothing like ${xid(id)}`)).toMatchObject({
        duplicateOf: id,
      });
    }
  });

  test('contention without an end is told as such', async () => {
    const gate = gated(client);
    const mine = new DocumentDeduplicator(gate.client, words, 0.99);
    await mine.initialize();
    let at = 0;
    const busy = (): Promise<unknown> => {
      gate.beforeNext('commit', busy);
      at += 1;
      return dedup.checkAndStore('busy', xid(String(at)));
    };
    gate.beforeNext('commit', busy);
    const late: unknown = await mine
      .checkAndStore('mine', fox, { timeoutMs: 200 })
      .catch((error: unknown) => error);
    expect(['RETRY_EXHAUSTED', 'DEADLINE_EXCEEDED']).toContain((late as { code: string }).code);
    expect(await stored()).toEqual(['busy']);
  });
});

/** Words that no other text has. */
function xid(id: string): string {
  const code = Array.from(id, (letter) => letter.charCodeAt(0)).join('x');
  return Array.from({ length: 20 }, (_, at) => `${code}n${at}`).join(' ');
}
