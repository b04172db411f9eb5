import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  CancelledError,
  InvalidArgumentError,
  LeaseNotFoundError,
  Version,
  VersionMismatchError,
  compare,
  op,
} from '@norikv/client';
import type { Compare, NoriKVClient, TxnOp } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('transactions of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  beforeEach(async () => {
    await client.deleteRange({ prefix: '' });
  });
  afterAll(() => store.close());

  const holds = async (...compares: Compare[]): Promise<boolean> =>
    (
      await client
        .txn()
        .if(...compares)
        .commit()
    ).succeeded;

  test('then is done if all compares hold, in one revision, and answers in order', async () => {
    const before = await client.put('a', '1');
    const outcome = await client
      .txn()
      .if(compare('a').version.equals(before), compare('b').exists.equals(false))
      .then(
        op.put('a', '2', { prevEntry: true }),
        op.put('b', '3'),
        op.get('b'),
        op.delete('missing'),
        op.scan({ prefix: '' }),
        op.deleteRange({ start: 'x', end: 'z' }),
      )
      .else(op.get('a'))
      .commit();
    if (!outcome.succeeded) throw new Error('the compares hold');
    const [replaced, written, read, deleted, scanned, gone] = outcome.results;
    expect(replaced.version.equals(outcome.version)).toBe(true);
    expect(replaced.prevEntry?.text()).toBe('1');
    expect(written.equals(outcome.version)).toBe(true);
    expect([read?.keyText(), read?.text(), deleted, gone]).toEqual(['b', '3', false, 0]);
    expect(scanned.map((entry) => [entry.keyText(), entry.text()])).toEqual([
      ['a', '2'],
      ['b', '3'],
    ]);
    expect(outcome.version.index).toBe(before.index + 1n);
  });

  test('else is done if one compare does not hold, and then is not', async () => {
    await client.put('a', '1');
    const outcome = await client
      .txn()
      .if(compare('a').exists.equals(true), compare('a').value.equals('2'))
      .then(op.put('a', 'then'))
      .else(op.get('a'), op.get('missing'))
      .commit();
    if (outcome.succeeded) throw new Error('a compare does not hold');
    expect(outcome.results[0]?.text()).toBe('1');
    expect(outcome.results[1]).toBeNull();
  });

  test('a transaction that changes nothing takes no revision', async () => {
    const version = await client.put('a', '1');
    const outcome = await client.txn().then(op.get('a'), op.delete('missing')).commit();
    expect(outcome.version.equals(version)).toBe(true);
    expect((await client.txn().commit()).succeeded).toBe(true);
  });

  test('every relation compares what is found with what is asked for', async () => {
    await client.put('a', 'm');
    const entry = await client.get('a');
    const { value, version, createVersion, generation, exists } = compare('a');
    const older = new Version(entry.version.term, entry.version.index - 1n);
    expect(
      await holds(
        value.equals('m'),
        value.notEquals('n'),
        value.less('n'),
        value.lessOrEqual('m'),
        value.greater(new Uint8Array([1])),
        value.greaterOrEqual('m'),
        version.equals(entry.version),
        version.greater(older),
        createVersion.notEquals(older),
        generation.equals(1),
        generation.lessOrEqual(1),
        exists.notEquals(false),
      ),
    ).toBe(true);
    for (const wrong of [
      value.less('m'),
      version.less(entry.version),
      createVersion.greater(entry.createVersion),
      generation.greaterOrEqual(2),
      exists.equals(false),
    ]) {
      expect(await holds(wrong)).toBe(false);
    }
  });

  test('a missing key is 0 everywhere, and its value compares false', async () => {
    const zero = new Version(0n, 0n);
    const { value, version, createVersion, generation, lease, exists } = compare('missing');
    expect(
      await holds(
        version.equals(zero),
        createVersion.lessOrEqual(zero),
        generation.equals(0),
        lease.equals(0n),
        exists.equals(false),
      ),
    ).toBe(true);
    expect(await holds(value.notEquals('x'))).toBe(false);
  });

  test('a condition of an op fails the whole transaction with its own error', async () => {
    const version = await client.put('a', '1');
    await failure(AlreadyExistsError, () =>
      client
        .txn()
        .then(op.put('b', '1'), op.put('a', '2', { ifNotExists: true }))
        .commit(),
    );
    const other = new Version(version.term, version.index + 9n);
    const error = await failure(VersionMismatchError, () =>
      client
        .txn()
        .then(op.put('b', '1'), op.delete('a', { ifMatchVersion: other }))
        .commit(),
    );
    expect(new TextDecoder().decode(error.key)).toBe('a');
    await failure(LeaseNotFoundError, () =>
      client
        .txn()
        .then(op.put('b', '1', { lease: 7n }))
        .commit(),
    );
    expect(await client.getOrNull('b')).toBeNull();
    expect((await client.get('a')).version.equals(version)).toBe(true);
  });

  test('a lease is written and compared', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    await client
      .txn()
      .then(op.put('a', '1', { lease }))
      .commit();
    expect((await client.get('a')).lease).toBe(lease.id);
    expect(await holds(compare('a').lease.equals(lease), compare('a').lease.greater(0n))).toBe(
      true,
    );
    await lease.revoke();
    expect(await client.getOrNull('a')).toBeNull();
  });

  test('128 compares and ops pass, 129 do not, and two writes to one key of a branch neither', async () => {
    const ops = Array.from({ length: 64 }, (_, at) => op.put(`k${at}`, '1'));
    const compares = Array.from({ length: 64 }, () => compare('x').exists.equals(false));
    const full = client
      .txn()
      .if(...compares)
      .then(...ops);
    expect((await full.commit()).succeeded).toBe(true);
    await failure(InvalidArgumentError, () => full.else(op.get('a')).commit());
    await failure(InvalidArgumentError, () =>
      client
        .txn()
        .then(op.put('a', '1'), op.deleteRange({ prefix: '' }))
        .commit(),
    );
    const both = client.txn().then(op.put('a', '1')).else(op.put('a', '2'));
    expect((await both.commit()).succeeded).toBe(true);
  });

  test('one of too many bytes says how many there may be', async () => {
    await client.put('a', '1');
    const value = new Uint8Array(100_000);
    const ops = Array.from({ length: 60 }, (_, at) => op.put(`k${at}`, value));
    const error = await failure(InvalidArgumentError, () =>
      client
        .txn()
        .then(...ops)
        .commit(),
    );
    expect(error.message).toContain('5242880 bytes of keys and values');
  });

  test('each step answers a new transaction: one may be begun once and committed many times', async () => {
    const begun = client.txn().if(compare('a').exists.equals(false));
    const put = begun.then(op.put('a', '1'));
    const read = begun.else(op.get('a'));
    expect((await put.commit()).succeeded).toBe(true);
    expect((await put.commit()).succeeded).toBe(false);
    expect((await read.commit()).results.length).toBe(1);
  });

  test('what a compare or op was made of may change afterwards', async () => {
    const key = new TextEncoder().encode('key');
    const value = new TextEncoder().encode('value');
    const made = client.txn().then(op.put(key, value));
    key.fill(0);
    value.fill(0);
    await made.commit();
    expect((await client.get('key')).text()).toBe('value');
  });

  test('the increments of many transactions are all there', async () => {
    await client.put('counter', '0');
    const add = async (): Promise<void> => {
      for (;;) {
        const { value, version, text } = await client.get('counter').then((entry) => ({
          value: Number(entry.text()),
          version: entry.version,
          text: entry.text(),
        }));
        expect(text).toBe(String(value));
        const { succeeded } = await client
          .txn()
          .if(compare('counter').version.equals(version))
          .then(op.put('counter', String(value + 1)))
          .commit();
        if (succeeded) return;
      }
    };
    await Promise.all(Array.from({ length: 20 }, add));
    expect((await client.get('counter')).text()).toBe('20');
  });

  test('awaiting a transaction instead of its commit fails, and does not wait for ever', async () => {
    const thenable = client.txn().then(op.put('a', '1')) as unknown as Promise<unknown>;
    const pending = (async () => await thenable)();
    // The engine calls `then`, so that no frame of the caller is left.
    const error = await pending.catch((refused: unknown) => refused);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect((error as Error).message).toContain('commit()');
    expect(await client.getOrNull('a')).toBeNull();
  });

  test('a commit is cancelled by its signal', async () => {
    await failure(CancelledError, () =>
      client.txn().then(op.put('a', '1')).commit({ signal: AbortSignal.abort() }),
    );
    expect(await client.getOrNull('a')).toBeNull();
  });

  test('what plain JavaScript gets wrong is refused where it is written', async () => {
    const version = (await client.status()).version;
    const plain = client.txn() as unknown as Record<'if' | 'then' | 'else', (x: unknown) => object>;
    const wrongOps: unknown[] = [null, 5, 'a', {}, [], compare('a').exists.equals(true)];
    const wrongCompares: unknown[] = [null, 5, 'a', {}, op.get('a')];
    const make = op as unknown as Record<string, (...args: unknown[]) => TxnOp>;
    const { value, version: ofVersion, generation, lease, exists } = compare('a');
    const to = (relations: unknown, operand: unknown): unknown =>
      (relations as Record<'equals', (to: unknown) => unknown>).equals(operand);
    const calls: (() => unknown)[] = [
      ...wrongOps.flatMap((wrong) => [() => plain.then(wrong), () => plain.else(wrong)]),
      ...wrongCompares.map((wrong) => () => plain.if(wrong)),
      () => compare(''),
      () => compare(5 as unknown as string),
      ...[5, null, undefined, {}].map((wrong) => () => to(value, wrong)),
      ...['1.2', null, undefined, 1n].map((wrong) => () => to(ofVersion, wrong)),
      ...[1n, -1, 1.5, NaN, '1', null].map((wrong) => () => to(generation, wrong)),
      ...[1, -1n, 2n ** 64n, null, {}].map((wrong) => () => to(lease, wrong)),
      ...[1, 'true', null, undefined].map((wrong) => () => to(exists, wrong)),
      () => make.put?.('a', 5),
      () => make.put?.('a', '1', { ttlMs: '1' }),
      () => make.put?.('a', '1', { lease: 5 }),
      () => make.put?.('a', '1', null),
      () => make.get?.(5),
      () => make.deleteRange?.({}),
      () => make.scan?.({ limit: -1 }),
    ];
    for (const call of calls) await failure(InvalidArgumentError, call);
    const options: [string, () => unknown][] = [
      ['signal', () => make.put?.('a', '1', { signal: undefined })],
      ['timeoutMs', () => make.delete?.('a', { timeoutMs: 1 })],
      ['consistency', () => make.scan?.({ consistency: 'lease' })],
      ['ifNotExist', () => make.put?.('a', '1', { ifNotExist: true })],
    ];
    for (const [name, call] of options) {
      expect((await failure(InvalidArgumentError, call)).message).toContain(name);
    }
    await failure(InvalidArgumentError, () =>
      client
        .txn()
        .then(op.scan({ version } as object))
        .commit(),
    );
    await failure(InvalidArgumentError, () => client.txn().then(op.put('', '1')).commit());
    expect((await client.status()).version.equals(version)).toBe(true);
  });
});
