import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { BankAccountAggregate, BankAccountError, EventStore } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

describe.each([memory, servedFile])('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  let store: EventStore;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
    store = new EventStore(client);
  });
  afterEach(() => world.close());

  test('two withdrawals of 100 from 100 never both pass (the naive ones both do)', async () => {
    const gate = gated(client);
    const mine = new BankAccountAggregate(new EventStore(gate.client), 'a');
    await mine.openAccount();
    await mine.deposit(100);
    const theirs = new BankAccountAggregate(store, 'a');
    await theirs.load();
    // Mine has been decided, and is not written yet.
    gate.beforeNext('commit', () => theirs.withdraw(100));
    await expect(mine.withdraw(100)).rejects.toMatchObject({ reason: 'insufficient funds' });
    expect(mine.getBalance()).toBe(0);
    expect(await store.getEvents('a')).toHaveLength(3);
  });

  test('as the reference does it', async () => {
    const account = new BankAccountAggregate(store, 'a');
    await account.load();
    await account.openAccount();
    await account.deposit(100);
    await account.withdraw(30);
    expect(account.getBalance()).toBe(70);
    const again = new BankAccountAggregate(store, 'a');
    await again.load();
    expect(again.getBalance()).toBe(70);
    const types = (await store.getEvents('a')).map(({ type }) => type);
    expect(types).toEqual(['AccountOpened', 'MoneyDeposited', 'MoneyWithdrawn']);
  });

  test('what an account refuses, it says', async () => {
    const account = new BankAccountAggregate(store, 'a');
    await expect(account.deposit(1)).rejects.toMatchObject({ reason: 'not open' });
    await expect(account.withdraw(1)).rejects.toBeInstanceOf(BankAccountError);
    await account.openAccount();
    await expect(account.openAccount()).rejects.toMatchObject({ reason: 'already open' });
    const other = new BankAccountAggregate(store, 'a');
    await expect(other.openAccount()).rejects.toMatchObject({ reason: 'already open' });
    await account.deposit(Number.MAX_SAFE_INTEGER);
    await expect(account.deposit(1)).rejects.toMatchObject({ reason: 'balance too large' });
    expect(await store.getEvents('a')).toHaveLength(2);
  });

  test('amounts are whole and above zero, and nothing is written of others', async () => {
    const account = new BankAccountAggregate(store, 'a');
    const wrong = [0, -5, 0.5, Number.NaN, Infinity, 2 ** 53, '5', null, undefined] as number[];
    for (const amount of wrong) {
      await expect(account.deposit(amount)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(account.withdraw(amount)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('events of something else are not taken for money', async () => {
    await store.append('a', 'AccountOpened', {});
    await store.append('a', 'MoneyDeposited', { amount: '5' });
    await expect(new BankAccountAggregate(store, 'a').load()).rejects.toThrow(CorruptionError);
    await store.append('b', 'Shipped', {});
    await expect(new BankAccountAggregate(store, 'b').load()).rejects.toThrow(CorruptionError);
  });
});
