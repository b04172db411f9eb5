// Only Node has processes of their own that can be killed between two steps, and a proxy that loses replies.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { DocumentDeduplicator, SemanticSearchEngine } from '@norikv/client/recipes';
import { words } from '../../examples/lib/words';
import { script } from '../faults/children';
import { gated } from './gate';
import type { Gated } from './gate';
import { remote } from './remote';
import type { Remote } from './remote';

let store: Remote;
let client: NoriKVClient;

beforeEach(async () => {
  store = await remote({ vectors: true });
  client = await NoriKVClient.open(store.address);
});
afterEach(async () => {
  await client.close();
  await store.stop();
});

/** Runs a program that kills itself before or after the next call of a name, once it is armed. */
async function killed(call: string, when: 'before' | 'after', body: string): Promise<void> {
  const vectors = {
    'half done': Array.from(await words.embed('half done')),
    fox: Array.from(await words.embed('fox')),
  };
  const { signal } = await script(
    `
    const recipes = require('@norikv/client/recipes');
    const inner = await NoriKVClient.open(args.address);
    const die = () => { process.kill(process.pid, 'SIGKILL'); return new Promise(() => {}); };
    let armed = false;
    const client = new Proxy(inner, { get(of, name) {
      const value = Reflect.get(of, name, of);
      if (typeof value !== 'function') return value;
      return (...given) => {
        if (!armed || name !== args.call) return value.apply(of, given);
        return args.when === 'before' ? die() : value.apply(of, given).then(die);
      };
    } });
    const arm = () => { armed = true; };
    const model = { dimensions: 128, embed: async (text) => args.vectors[text.trim()] };
    ${body}
    `,
    { address: store.address, call, when, vectors },
  );
  expect(signal).toBe('SIGKILL');
}

describe.each([
  ['vectorInsert', 'before'],
  ['vectorInsert', 'after'],
  ['delete', 'after'],
] as const)('killed at %s, %s it', (call, when) => {
  test('a document and its vector are not apart (the naive ones stay so)', async () => {
    await killed(
      call,
      when,
      `const engine = new recipes.SemanticSearchEngine(client, model);
       await engine.initialize();
       arm();
       await engine.indexDocument('d', 'half', 'done');`,
    );
    const engine = new SemanticSearchEngine(client, words);
    await engine.initialize();
    expect(await engine.search('half', 1)).toMatchObject([{ id: 'd', title: 'half' }]);
    expect((await client.vectorIndexes())[0]?.vectors).toBe(1);
    expect(await client.count({ prefix: 'search/documents/todo/' })).toBe(0);
  });
});

test.each(['before', 'after'] as const)(
  'killed in a delete, %s the vector goes: neither is left',
  async (when) => {
    await killed(
      'vectorDelete',
      when,
      `const engine = new recipes.SemanticSearchEngine(client, model);
       await engine.indexDocument('d', 'half', 'done');
       arm();
       await engine.deleteDocument('d');`,
    );
    const engine = new SemanticSearchEngine(client, words);
    expect(await engine.search('half', 1)).toEqual([]);
    expect((await client.vectorIndexes())[0]?.vectors).toBe(0);
    expect(await client.count({ prefix: 'search/' })).toBe(0);
  },
);

test('a process that was killed when it had decided holds up no other, and its document counts', async () => {
  await killed(
    'vectorInsert',
    'before',
    `const dedup = new recipes.DocumentDeduplicator(client, model, 0.9);
     await dedup.initialize();
     arm();
     await dedup.checkAndStore('d1', 'fox');`,
  );
  const dedup = new DocumentDeduplicator(client, words, 0.9);
  expect(await dedup.checkAndStore('d2', 'fox')).toMatchObject({ duplicateOf: 'd1' });
  expect(await client.count({ prefix: 'dedup/doc_fingerprints/todo/' })).toBe(0);
});

describe('a reply that is lost', () => {
  let cut: NoriKVClient;
  let gate: Gated;
  beforeEach(async () => {
    cut = await NoriKVClient.open(store.through);
    gate = gated(cut);
  });
  afterEach(async () => {
    await cut.close();
  });

  /** Has the reply to the next commit lost, once its change of a key is there. */
  async function loseReply(prefix: string): Promise<void> {
    const watch = client.watch({ prefix });
    await watch.ready;
    gate.beforeNext('commit', () => {
      store.holdReplies();
      void watch[Symbol.asyncIterator]()
        .next()
        .then(() => {
          store.proxy.cut();
          return watch.close();
        });
      return Promise.resolve();
    });
  }

  test('a document is stored once, and is not its own duplicate', async () => {
    const dedup = new DocumentDeduplicator(gate.client, words, 0.9);
    await dedup.initialize();
    await loseReply('dedup/doc_fingerprints/doc/');
    expect(await dedup.checkAndStore('d1', 'fox')).toMatchObject({ isDuplicate: false });
    expect(await client.count({ prefix: 'dedup/doc_fingerprints/doc/' })).toBe(1);
    expect(await client.count({ prefix: 'dedup/doc_fingerprints/todo/' })).toBe(0);
  });

  test('a document that was deleted is said to have been there', async () => {
    const engine = new SemanticSearchEngine(gate.client, words);
    await engine.indexDocument('d', 'half', 'done');
    await loseReply('search/documents/doc/');
    expect(await engine.deleteDocument('d')).toBe(true);
    expect(await engine.search('half', 1)).toEqual([]);
    expect(await client.count({ prefix: 'search/' })).toBe(0);
  });
});
