// Node only: a proxy of sockets takes replies away, and processes kill themselves between two steps.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { InventoryManager } from '@norikv/client/recipes';
import { script } from '../faults/children';
import { keysOf } from './bad';
import { lossy } from './lost';
import type { Lossy } from './lost';
import { places } from './processes/places';

describe('an InventoryManager whose replies get lost', () => {
  let store: Lossy;
  let far: InventoryManager;
  let near: InventoryManager;

  beforeEach(async () => {
    store = await lossy();
    far = new InventoryManager(store.far);
    near = new InventoryManager(store.near);
  });
  afterEach(() => store.close());

  test('makes an item once, and does not take its own for somebody else’s', async () => {
    await store.lose('put', () => far.createItem('a', 10));
    expect(await near.getAvailable('a')).toBe(10);
  });

  test('sells once, also when others reserve before it can ask again', async () => {
    await near.createItem('a', 10);
    const id = await far.reserve('a', 2);
    // The first transaction is the read of the reservations, which a commit does not need.
    await store.lose(
      'commit',
      () => far.commit(id),
      () => near.reserve('a', 1),
    );
    expect(await near.getAvailable('a')).toBe(7);
    await far.commit(id);
    expect(await near.getAvailable('a')).toBe(7);
  });

  test('gives back once, and says that it did', async () => {
    await near.createItem('a', 10);
    const id = await far.reserve('a', 2);
    expect(await store.lose('delete', () => far.release(id))).toBe(true);
    expect(await far.release(id)).toBe(false);
    expect(await near.getAvailable('a')).toBe(10);
  });

  test('extends once it can', async () => {
    await near.createItem('a', 10);
    const id = await far.reserve('a', 2);
    await store.lose('commit', () => far.extend(id, 60_000));
    expect(await near.release(id)).toBe(true);
  });
});

// Each call to the store is a step. Before the given one the process kills itself, or right after it was sent.
const sale = `
  const { InventoryManager } = require('@norikv/client/recipes');
  const client = await NoriKVClient.open(args.address);
  let step = 0;
  const die = () => process.kill(process.pid, 'SIGKILL');
  const builders = ['txn', 'if', 'then', 'else'];
  const watched = (of) => new Proxy(of, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...given) => {
        if (builders.includes(name)) return watched(value.apply(target, given));
        step += 1;
        if (step === args.step && !args.sent) die();
        const answer = value.apply(target, given);
        if (step === args.step) setTimeout(die, 1);
        return answer;
      };
    },
  });
  const inventory = new InventoryManager(watched(client));
  const id = await inventory.reserve('a', 3, { ttlMs: 700 });
  await inventory.commit(id);
  console.log(step);
  await client.close();
`;

test('a process that is killed between any two steps leaves no stock reserved, and none sold twice (the naive one leaks it)', async () => {
  const address = await places[0]!.start();
  const client = await NoriKVClient.open(address);
  const inventory = new InventoryManager(client);
  let total = 100;
  await inventory.createItem('a', total);

  const run = async (step: number, sent: boolean): Promise<void> => {
    const watch = client.watch({ prefix: 'inventory/hold/' }, { puts: false });
    await watch.ready;
    const child = await script(sale, { address, step, sent });
    expect({ ...child, output: '' }).toMatchObject({ signal: 'SIGKILL', complaint: '' });
    const available = await inventory.getAvailable('a');
    expect([total, total - 3]).toContain(available);
    // A reservation that is still there runs out.
    const holds = (await keysOf(client)).filter((key) => key.startsWith('inventory/hold/'));
    if (holds.length > 0) await watch[Symbol.asyncIterator]().next();
    await watch.close();
    const done = await client.deleteRange({ prefix: 'inventory/done/' });
    expect(done).toBeLessThanOrEqual(1);
    total -= 3 * done;
    expect(await inventory.getAvailable('a')).toBe(total);
  };

  const whole = await script(sale, { address, step: 0 });
  expect(whole).toMatchObject({ code: 0, output: '4\n' });
  total -= 3;
  await client.deleteRange({ prefix: 'inventory/done/' });
  for (const step of [1, 2, 3, 4]) {
    await run(step, false);
    await run(step, true);
  }
  const all = await inventory.reserve('a', total);
  await inventory.commit(all);
  expect(await inventory.getAvailable('a')).toBe(0);

  await client.close();
}, 60_000);
