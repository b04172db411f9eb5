import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  CancelledError,
  CorruptionError,
  NotFoundError,
  RetryExhaustedError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { InsufficientStockError, InventoryManager } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import {
  badCounts,
  badNames,
  badOptions,
  expectRefused,
  invoke,
  keysOf,
  strangeNames,
} from './bad';
import { gated } from './gate';

describe.each([memory, servedFile])('an InventoryManager on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let inventory: InventoryManager;

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    inventory = new InventoryManager(client);
  });
  afterEach(() => store.close());

  /** What is left of the item, reserved or not. */
  async function quantityOf(sku: string): Promise<number> {
    return (await client.get(`inventory/item/${sku}`)).json<{ quantity: number }>().quantity;
  }

  /** Waits until the store has ended a reservation. */
  async function end(act: () => Promise<string>): Promise<string> {
    const watch = client.watch({ prefix: 'inventory/hold/' }, { puts: false });
    await watch.ready;
    const id = await act();
    await watch[Symbol.asyncIterator]().next();
    await watch.close();
    return id;
  }

  test('reserves, sells and gives back', async () => {
    await inventory.createItem('a', 10);
    const [sold, given] = [await inventory.reserve('a', 3), await inventory.reserve('a', 4)];
    expect(await inventory.getAvailable('a')).toBe(3);
    await inventory.commit(sold);
    expect(await inventory.release(given)).toBe(true);
    expect(await inventory.getAvailable('a')).toBe(7);
    await inventory.addStock('a', 5);
    expect(await inventory.getAvailable('a')).toBe(12);
    expect(await quantityOf('a')).toBe(12);
  });

  test('createItem leaves an item alone that is there (the naive one resets it)', async () => {
    await inventory.createItem('a', 10);
    await inventory.reserve('a', 4);
    await expect(inventory.createItem('a', 10)).rejects.toThrow(AlreadyExistsError);
    expect(await inventory.getAvailable('a')).toBe(6);
    await inventory.createItem('none', 0);
    expect(await inventory.getAvailable('none')).toBe(0);
  });

  test('of two who reserve the last one at once, one is told that there is none', async () => {
    const gate = gated(client);
    const slow = new InventoryManager(gate.client);
    const fast = new InventoryManager(await store.another());
    await inventory.createItem('a', 1);
    // Between the read and the write of the slow one.
    gate.beforeNext('commit', () => {
      gate.beforeNext('commit', () => fast.reserve('a', 1));
      return Promise.resolve();
    });
    const error: unknown = await slow.reserve('a', 1).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InsufficientStockError);
    expect(error).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      sku: 'a',
      requested: 1,
      available: 0,
    });
    expect(await inventory.getAvailable('a')).toBe(0);
  });

  test('what is asked for at once and does not fit is refused by itself, and nothing of it is kept', async () => {
    await inventory.createItem('a', 10);
    const asked = await Promise.allSettled([6, 5, 4].map((n) => inventory.reserve('a', n)));
    expect(asked.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await inventory.getAvailable('a')).toBe(0);
    const holds = (await keysOf(client)).filter((key) => key.startsWith('inventory/hold/'));
    expect(holds).toHaveLength(2);
  });

  test('a reservation that runs out gives its stock back by itself (the naive one keeps it for ever)', async () => {
    await inventory.createItem('a', 5);
    const id = await end(() => inventory.reserve('a', 5, { ttlMs: 60 }));
    expect(await inventory.getAvailable('a')).toBe(5);
    expect(await inventory.release(id)).toBe(false);
    expect(await inventory.getAvailable('a')).toBe(5);
    expect(await keysOf(client)).toEqual(['inventory/item/a']);
  });

  test('a commit that comes too late sells nothing, also once others have the stock', async () => {
    await inventory.createItem('a', 5);
    const late = await end(() => inventory.reserve('a', 5, { ttlMs: 60 }));
    const other = await inventory.reserve('a', 5);
    await expect(inventory.commit(late)).rejects.toThrow(NotFoundError);
    await expect(inventory.extend(late, 60_000)).rejects.toThrow(NotFoundError);
    await inventory.commit(other);
    await expect(inventory.commit(late)).rejects.toThrow('nothing was sold');
    expect(await quantityOf('a')).toBe(0);
  });

  test('a reservation that runs out between the read and the write of its commit is not sold', async () => {
    const gate = gated(client);
    await inventory.createItem('a', 5);
    const id = await inventory.reserve('a', 2, { ttlMs: 60_000 });
    gate.beforeNext('commit', () =>
      client.deleteRange({ prefix: 'inventory/hold/' }).then(() => inventory.reserve('a', 5)),
    );
    await expect(new InventoryManager(gate.client).commit(id)).rejects.toThrow(NotFoundError);
    expect(await quantityOf('a')).toBe(5);
    expect(await inventory.getAvailable('a')).toBe(0);
  });

  test('committing twice sells once, one after the other and at once (the naive one takes the stock twice)', async () => {
    const other = new InventoryManager(await store.another());
    await inventory.createItem('a', 10);
    const id = await inventory.reserve('a', 3);
    await Promise.all([inventory.commit(id), inventory.commit(id), other.commit(id)]);
    await inventory.commit(id);
    expect(await quantityOf('a')).toBe(7);
    expect(await inventory.getAvailable('a')).toBe(7);
    await expect(inventory.extend(id, 1_000)).rejects.toThrow('committed already');
  });

  test('of a commit and a release one takes effect, in either order and in between', async () => {
    const gate = gated(client);
    const slow = new InventoryManager(gate.client);
    await inventory.createItem('a', 10);
    const first = await inventory.reserve('a', 1);
    gate.beforeNext('commit', () => inventory.release(first));
    await expect(slow.commit(first)).rejects.toThrow(NotFoundError);
    expect(await inventory.getAvailable('a')).toBe(10);

    const second = await inventory.reserve('a', 1);
    gate.beforeNext('delete', () => inventory.commit(second));
    expect(await slow.release(second)).toBe(false);
    await inventory.commit(second);
    expect(await inventory.getAvailable('a')).toBe(9);

    const third = await inventory.reserve('a', 1);
    expect(await inventory.release(third)).toBe(true);
    await expect(inventory.commit(third)).rejects.toThrow(NotFoundError);
    expect(await inventory.getAvailable('a')).toBe(9);
  });

  test('releasing twice gives back once (the naive one adds the stock twice)', async () => {
    await inventory.createItem('a', 10);
    const id = await inventory.reserve('a', 3);
    const released = await Promise.all([inventory.release(id), inventory.release(id)]);
    expect(released.sort()).toEqual([false, true]);
    expect(await inventory.getAvailable('a')).toBe(10);
  });

  test('extend keeps a reservation, and does not bring one back', async () => {
    await inventory.createItem('a', 10);
    const id = await inventory.reserve('a', 3, { ttlMs: 5_000 });
    await inventory.extend(id, 3_600_000);
    const [hold] = await client.scan({ prefix: 'inventory/hold/' }).toArray();
    expect(hold!.expiresAt).toBeGreaterThan(Date.now() + 3_000_000);
    await inventory.release(id);
    await expect(inventory.extend(id, 1_000)).rejects.toThrow(NotFoundError);
    expect(await inventory.getAvailable('a')).toBe(10);
  });

  test('costs: reserve 2 round trips, commit 2, the others 1', async () => {
    const gate = gated(client);
    const counted = new InventoryManager(gate.client);
    const cost = async <T>(call: () => Promise<T>): Promise<[number, T]> => {
      const before = gate.total();
      const answer = await call();
      return [gate.total() - before, answer];
    };
    expect((await cost(() => counted.createItem('a', 10)))[0]).toBe(1);
    const [reserved, id] = await cost(() => counted.reserve('a', 1));
    expect(reserved).toBe(2);
    expect((await cost(() => counted.getAvailable('a')))[0]).toBe(1);
    expect((await cost(() => counted.extend(id, 1_000)))[0]).toBe(1);
    expect((await cost(() => counted.commit(id)))[0]).toBe(2);
    expect((await cost(() => counted.commit(id)))[0]).toBe(1);
    const given = await counted.reserve('a', 1);
    expect((await cost(() => counted.release(given)))[0]).toBe(1);
    expect((await cost(() => counted.addStock('a', 1)))[0]).toBe(2);
    // What one object is asked for at once goes together.
    const [many, ids] = await cost(() =>
      Promise.all(Array.from({ length: 8 }, () => counted.reserve('a', 1))),
    );
    expect(many).toBe(2);
    expect((await cost(() => Promise.all(ids.map((one) => counted.commit(one)))))[0]).toBe(2);
  });

  test('more reservations than one read takes are all counted', async () => {
    await inventory.createItem('a', 5_000);
    await inventory.createItem('a0', 5);
    await inventory.reserve('a0', 5);
    const ids = await Promise.all(Array.from({ length: 1_300 }, () => inventory.reserve('a', 2)));
    expect(await inventory.getAvailable('a')).toBe(2_400);
    await expect(inventory.reserve('a', 2_401)).rejects.toThrow(InsufficientStockError);
    await Promise.all(ids.slice(0, 200).map((id) => inventory.commit(id)));
    expect(await inventory.getAvailable('a')).toBe(2_400);
    expect(await quantityOf('a')).toBe(4_600);
  });

  test('16 objects on 4 clients that reserve, sell and give back at once: exact, never below 0', async () => {
    const clients = [client, await store.another(), await store.another(), await store.another()];
    const start = 40;
    await inventory.createItem('a', start);
    const rounds = kind.slow ? 3 : 8;
    const sold = await Promise.all(
      Array.from({ length: 16 }, async (_, at) => {
        const own = new InventoryManager(clients[at % 4]!);
        let mine = 0;
        for (let round = 0; round < rounds; round++) {
          const id = await own.reserve('a', 1 + (at % 3)).catch((error: unknown) => {
            expect(error).toBeInstanceOf(InsufficientStockError);
            return null;
          });
          expect(await own.getAvailable('a')).toBeGreaterThanOrEqual(0);
          if (id === null) continue;
          if ((at + round) % 2 === 0) {
            await own.commit(id);
            mine += 1 + (at % 3);
          } else {
            expect(await own.release(id)).toBe(true);
          }
        }
        return mine;
      }),
    );
    const total = sold.reduce((sum, mine) => sum + mine, 0);
    expect(await quantityOf('a')).toBe(start - total);
    expect(await inventory.getAvailable('a')).toBe(start - total);
  });

  test('contention that does not end is a RetryExhaustedError, not a lack of stock', async () => {
    const gate = gated(client);
    const slow = new InventoryManager(gate.client);
    await inventory.createItem('a', 1_000_000);
    const disturb = async (): Promise<void> => {
      gate.beforeNext('commit', disturb);
      await inventory.addStock('a', 1);
    };
    gate.beforeNext('commit', disturb);
    const timeoutMs = kind.slow ? 1_500 : 500;
    await expect(slow.reserve('a', 1, { timeoutMs })).rejects.toThrow(RetryExhaustedError);
    const id = await inventory.reserve('a', 1);
    await expect(slow.commit(id, { timeoutMs })).rejects.toThrow(RetryExhaustedError);
    expect(await inventory.release(id)).toBe(true);
    expect(await inventory.getAvailable('a')).toBe(await quantityOf('a'));
  });

  test('unknown items and reservations are said to be unknown', async () => {
    await expect(inventory.getAvailable('a')).rejects.toThrow(NotFoundError);
    await expect(inventory.reserve('a', 1)).rejects.toThrow('createItem');
    await expect(inventory.addStock('a', 1)).rejects.toThrow(NotFoundError);
    const never = `a/${'x'.repeat(22)}.1`;
    await expect(inventory.commit(never)).rejects.toThrow(NotFoundError);
    await expect(inventory.extend(never, 1)).rejects.toThrow(NotFoundError);
    expect(await inventory.release(never)).toBe(false);
    expect(await keysOf(client)).toEqual([]);
  });

  test('what is no item, or no reservation, is named and left as it is', async () => {
    for (const text of [
      '',
      '5',
      'null',
      '{}',
      '{"quantity":-1,"by":"x"}',
      '{"quantity":1.5,"by":"x"}',
    ]) {
      await client.put('inventory/item/a', text);
      await expect(inventory.reserve('a', 1)).rejects.toThrow(CorruptionError);
      await expect(inventory.getAvailable('a')).rejects.toThrow('"inventory/item/a"');
      await expect(inventory.addStock('a', 1)).rejects.toThrow(CorruptionError);
      await expect(inventory.createItem('a', 1)).rejects.toThrow(AlreadyExistsError);
      expect((await client.get('inventory/item/a')).text()).toBe(text);
    }
    await inventory.createItem('b', 1);
    await client.put('inventory/hold/b/x', '');
    await expect(inventory.getAvailable('b')).rejects.toThrow('"inventory/hold/b/x"');
  });

  test('quantities up to 2^53 - 1, and no further', async () => {
    await inventory.createItem('a', Number.MAX_SAFE_INTEGER);
    await expectRefused(() => inventory.addStock('a', 1));
    const id = await inventory.reserve('a', Number.MAX_SAFE_INTEGER);
    expect(await inventory.getAvailable('a')).toBe(0);
    await inventory.commit(id);
    expect(await quantityOf('a')).toBe(0);
  });

  test('strange skus are skus of their own', async () => {
    for (const [at, sku] of strangeNames.entries()) await inventory.createItem(sku, at + 1);
    for (const [at, sku] of strangeNames.entries()) {
      const id = await inventory.reserve(sku, at + 1);
      expect(await inventory.getAvailable(sku)).toBe(0);
      if (at % 2 === 0) await inventory.commit(id);
      else expect(await inventory.release(id)).toBe(true);
      expect(await inventory.getAvailable(sku)).toBe(at % 2 === 0 ? 0 : at + 1);
    }
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const sku of badNames) {
      await expectRefused(() => invoke(inventory, 'createItem', sku, 1));
      await expectRefused(() => invoke(inventory, 'addStock', sku, 1));
      await expectRefused(() => invoke(inventory, 'reserve', sku, 1));
      await expectRefused(() => invoke(inventory, 'getAvailable', sku));
    }
    for (const count of [...badCounts, undefined]) {
      if (count !== 0) await expectRefused(() => invoke(inventory, 'createItem', 'a', count));
      await expectRefused(() => invoke(inventory, 'addStock', 'a', count));
      await expectRefused(() => invoke(inventory, 'reserve', 'a', count));
      if (count !== undefined) {
        await expectRefused(() => invoke(inventory, 'reserve', 'a', 1, { ttlMs: count }));
      }
      await expectRefused(() => invoke(inventory, 'extend', `a/${'x'.repeat(22)}.1`, count));
    }
    const hold = 'x'.repeat(22);
    const ids = [undefined, null, 5, {}, '', 'a', `a/${hold}`, `a/${hold}.0`, `a/${hold}.-1`];
    for (const id of [...ids, `/${hold}.1`, `a/b/${hold}.1`, `a%2f/${hold}.1`, `a/${hold}.1.1`]) {
      await expectRefused(() => invoke(inventory, 'commit', id));
      await expectRefused(() => invoke(inventory, 'release', id));
      await expectRefused(() => invoke(inventory, 'extend', id, 1));
    }
    const id = `a/${hold}.1`;
    const signal = AbortSignal.abort();
    for (const options of [...badOptions, { ttl: 5 }]) {
      await expectRefused(() => invoke(inventory, 'reserve', 'a', 1, options));
    }
    for (const options of badOptions) {
      await expectRefused(() => invoke(inventory, 'createItem', 'a', 1, options));
      await expectRefused(() => invoke(inventory, 'commit', id, options));
      await expectRefused(() => invoke(inventory, 'release', id, options));
    }
    await expect(inventory.createItem('a', 1, { signal })).rejects.toThrow(CancelledError);
    await expect(inventory.reserve('a', 1, { signal })).rejects.toThrow(CancelledError);
    await expect(inventory.commit(id, { signal })).rejects.toThrow(CancelledError);
    await expect(inventory.release(id, { signal })).rejects.toThrow(CancelledError);
    expect(await keysOf(client)).toEqual([]);
  });
});
