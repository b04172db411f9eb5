import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as norikv from '@norikv/client';
import {
  InvalidArgumentError,
  KeyNotFoundError,
  LeaseNotFoundError,
  NoriKVClient,
  NoriKVError,
  Version,
  VersionMismatchError,
  createClient,
} from '@norikv/client';
import type { ErrorCode } from '@norikv/client';
import { expectOwnStack, failure } from './errors';
import { kinds, strangeFrame } from './stores';
import type { TestStore } from './stores';
import { turn } from './turn';

const key = new Uint8Array([1, 2]);
const version = new Version(1n, 2n);

/** Every class, its code, whether a repeat may succeed, and the fields it adds. */
const classes: readonly (readonly [
  keyof typeof norikv,
  ErrorCode,
  boolean,
  Readonly<Record<string, unknown>>?,
])[] = [
  ['KeyNotFoundError', 'KEY_NOT_FOUND', false, { key }],
  ['VersionMismatchError', 'VERSION_MISMATCH', false, { key, expected: version, actual: null }],
  ['AlreadyExistsError', 'ALREADY_EXISTS', false, { key, actual: version }],
  ['InvalidArgumentError', 'INVALID_ARGUMENT', false],
  ['NotLeaderError', 'NOT_LEADER', true, { leaderHint: 'node-2', shardId: 7 }],
  ['UnavailableError', 'UNAVAILABLE', true],
  ['ConnectionError', 'CONNECTION', true, { address: 'host:1' }],
  ['NoNodesAvailableError', 'NO_NODES_AVAILABLE', true],
  ['DeadlineExceededError', 'DEADLINE_EXCEEDED', true, { timeoutMs: 100 }],
  ['RetryExhaustedError', 'RETRY_EXHAUSTED', false, { attempts: 3 }],
  ['CancelledError', 'CANCELLED', false],
  ['ClosedError', 'CLOSED', false],
  ['UnauthenticatedError', 'UNAUTHENTICATED', false],
  ['PermissionDeniedError', 'PERMISSION_DENIED', false],
  ['ResourceExhaustedError', 'RESOURCE_EXHAUSTED', true],
  ['UnsupportedError', 'UNSUPPORTED', false],
  ['CompactedError', 'COMPACTED', false, { compactVersion: version }],
  ['LeaseNotFoundError', 'LEASE_NOT_FOUND', false, { lease: 7n }],
  ['LeaseLostError', 'LEASE_LOST', false, { lease: 7n }],
  ['NotFoundError', 'NOT_FOUND', false],
  ['VectorIndexNotFoundError', 'VECTOR_INDEX_NOT_FOUND', false],
  ['VectorIndexExistsError', 'VECTOR_INDEX_EXISTS', false],
  ['VectorDimensionMismatchError', 'VECTOR_DIMENSION_MISMATCH', false, { expected: 3, actual: 4 }],
  ['VectorNotFoundError', 'VECTOR_NOT_FOUND', false],
  ['CorruptionError', 'CORRUPTION', false],
  ['InternalError', 'INTERNAL', false],
  ['EphemeralServerError', 'UNAVAILABLE', true],
];

describe('every class', () => {
  test.each(classes)('%s has the code %s', (name, code, retryable, fields = {}) => {
    const ErrorClass = norikv[name] as unknown as new (
      message: string,
      details: object,
    ) => NoriKVError;
    const cause = new Error('why');
    const error = new ErrorClass('what', { ...fields, cause, outcome: 'unknown' });
    expect(error).toBeInstanceOf(ErrorClass);
    expect(error).toBeInstanceOf(NoriKVError);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      message: 'what',
      code,
      retryable,
      outcome: 'unknown',
      ...fields,
    });
    expect(error.cause).toBe(cause);
    expect(error.name).toBe(name === 'CancelledError' ? 'AbortError' : name);
    expect(String(error)).toBe(`${error.name}: what`);
    expectOwnStack(error);

    const bare = new ErrorClass('what', fields);
    expect('outcome' in bare).toBe(false);
    expect('cause' in bare).toBe(false);
  });

  test('none is left out', () => {
    const exported = Object.keys(norikv).filter(
      (name) => name.endsWith('Error') && name !== 'NoriKVError',
    );
    expect(exported.sort()).toEqual(classes.map(([name]) => name as string).sort());
  });
});

describe.each(kinds)('errors of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('begin their stacks in the caller’s code, however deep and late the call is', async () => {
    async function inner(): Promise<unknown> {
      await turn();
      return await client.get('missing', { timeoutMs: 5000 });
    }
    async function outer(): Promise<unknown> {
      return await inner();
    }
    const error = await failure(KeyNotFoundError, outer);
    const stack = (error.stack ?? '').replace(strangeFrame, '');
    expect(stack).toMatch(/^KeyNotFoundError: .*\n\s+at (async )?inner /);
    expect(stack).toMatch(/outer /);
  });

  test('begin their stacks in the caller’s code for every method', async () => {
    const stale = await client.put('stack', '1');
    await client.put('stack', '2');
    const future = new Version(1n, 1_000_000_000n);
    await failure(KeyNotFoundError, () => client.get('missing'));
    await failure(InvalidArgumentError, () => client.getOrNull(''));
    await failure(InvalidArgumentError, () => client.getMany(['']));
    await failure(VersionMismatchError, () => client.put('stack', '3', { ifMatchVersion: stale }));
    await failure(VersionMismatchError, () => client.delete('stack', { ifMatchVersion: stale }));
    await failure(InvalidArgumentError, () => client.count({}, { version: future }));
    await failure(InvalidArgumentError, () => client.scan({ version: future }).toArray());
    await failure(InvalidArgumentError, async () => {
      for await (const entry of client.scan({ version: future })) expect(entry).toBeUndefined();
    });
    await failure(InvalidArgumentError, () => client.update('', () => '1'));
  });

  test('have a stack also where nothing awaits', async () => {
    const error = await new Promise<unknown>((resolve) => {
      client.get('missing').then(resolve, resolve);
    });
    expect((error as Error).stack).toMatch(/\n\s+at /);
  });

  test('a lease that the store does not have is named, and nothing is written', async () => {
    const error = await failure(LeaseNotFoundError, () => client.put('leased', 'x', { lease: 7n }));
    expect([error.code, error.lease, error.retryable]).toEqual(['LEASE_NOT_FOUND', 7n, false]);
    expect(await client.getOrNull('leased')).toBeNull();
  });
});

test('errors of constructing and opening begin in the caller’s code', async () => {
  await failure(InvalidArgumentError, () => new NoriKVClient('nowhere'));
  await failure(InvalidArgumentError, () => NoriKVClient.open('nowhere'));
  await failure(InvalidArgumentError, () => createClient('nowhere'));
});
