import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  InvalidArgumentError,
  Version,
  VersionMismatchError,
  bytesToString,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { untilGone } from './expiry';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('put to $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  // A time is rounded up once as a length, and once as a moment.
  const roundedBy = kind.timeUnitMs === 1 ? 0 : 2 * kind.timeUnitMs;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  describe('versions', () => {
    test('every put takes the next revision', async () => {
      const first = await client.put('revision', '1');
      const second = await client.put('revision', '2');
      expect(first.term).toBe(1n);
      expect(second.index).toBe(first.index + 1n);
      expect((await client.get('revision')).version.equals(second)).toBe(true);
    });

    test('1,000 puts at once take 1,000 revisions', async () => {
      const before = await client.put('at once', '0');
      const versions = await Promise.all(
        Array.from({ length: 1000 }, (_, at) => client.put(`at once:${at}`, `${at}`)),
      );
      const indexes = versions.map(({ index }) => Number(index - before.index));
      expect(indexes.sort((a, b) => a - b)).toEqual(
        Array.from({ length: 1000 }, (_, at) => at + 1),
      );
    });

    test('a put after a delete begins at generation 1 with a new createVersion', async () => {
      await client.put('again', '1');
      await client.put('again', '2');
      await client.delete('again');
      const version = await client.put('again', '3');
      const entry = await client.get('again');
      expect(entry.generation).toBe(1);
      expect(entry.createVersion.equals(version)).toBe(true);
    });
  });

  describe('ttlMs', () => {
    test('an entry says when it expires, and is gone for every kind of read from that moment', async () => {
      const before = Date.now();
      await client.put('ttl:short', 'x', { ttlMs: 150 });
      const entry = await client.get('ttl:short');
      expect(entry.expiresAt).toBeGreaterThanOrEqual(before + 149);
      expect(entry.expiresAt).toBeLessThanOrEqual(Date.now() + 151 + roundedBy);
      await untilGone(client, 'ttl:short');
      expect(Date.now()).toBeGreaterThanOrEqual(entry.expiresAt! - 1 - roundedBy);
      expect(await client.getMany(['ttl:short'])).toEqual([null]);
      expect(await client.scan({ prefix: 'ttl:short' }).toArray()).toEqual([]);
      expect(await client.count({ prefix: 'ttl:short' })).toBe(0);
      expect(await client.delete('ttl:short')).toBe(false);
    });

    test('what expired can be put again if not there', async () => {
      await client.put('ttl:again', '1', { ttlMs: 1 });
      await untilGone(client, 'ttl:again');
      await client.put('ttl:again', '2', { ifNotExists: true });
      expect((await client.get('ttl:again')).generation).toBe(1);
    });

    test(`an expiry is a revision of its own, no later than ${kind.lateMs} ms after`, async () => {
      const version = await client.put('ttl:revision', 'x', { ttlMs: 20 });
      // Its time began before the put was answered.
      const latest = Date.now() + 20;
      const entry = await client.getOrNull('ttl:revision');
      // It may be gone already, where calls take long.
      const expiresAt = entry === null ? latest : entry.expiresAt!;
      expect(expiresAt).toBeLessThanOrEqual(latest + 1 + roundedBy);
      for (;;) {
        const status = await client.status();
        const now = Date.now();
        if (status.version.compare(version) > 0) break;
        expect(now).toBeLessThan(expiresAt + kind.lateMs);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      expect(await client.getOrNull('ttl:revision')).toBeNull();
    });

    test('a put without ttlMs clears an earlier one', async () => {
      await client.put('ttl:cleared', '1', { ttlMs: 100 });
      await client.put('ttl:cleared', '2');
      expect((await client.get('ttl:cleared')).expiresAt).toBeNull();
      await client.put('ttl:witness', 'x', { ttlMs: 100 });
      await untilGone(client, 'ttl:witness');
      expect((await client.get('ttl:cleared')).text()).toBe('2');
    });

    test('from 1 ms to 10 years', async () => {
      const tenYears = 10 * 365 * 24 * 60 * 60 * 1000;
      await client.put('ttl:longest', 'x', { ttlMs: tenYears });
      const { expiresAt } = await client.get('ttl:longest');
      expect(Math.abs(expiresAt! - Date.now() - tenYears)).toBeLessThan(10_000);
      await client.put('ttl:shortest', 'x', { ttlMs: 1 });
      await untilGone(client, 'ttl:shortest');
    });
  });

  describe('ifNotExists', () => {
    test('writes a missing key, and refuses one that is there, with what is there', async () => {
      const version = await client.put('absent', '1', { ifNotExists: true });
      const error = await failure(AlreadyExistsError, () =>
        client.put('absent', '2', { ifNotExists: true }),
      );
      expect(error.code).toBe('ALREADY_EXISTS');
      expect(bytesToString(error.key)).toBe('absent');
      expect(error.actual?.equals(version)).toBe(true);
      expect((await client.get('absent')).text()).toBe('1');
    });

    test('an empty value is there', async () => {
      await client.put('absent:empty', '');
      await failure(AlreadyExistsError, () =>
        client.put('absent:empty', 'x', { ifNotExists: true }),
      );
    });

    test('false asks for nothing', async () => {
      await client.put('absent:false', '1');
      await client.put('absent:false', '2', { ifNotExists: false });
      expect((await client.get('absent:false')).text()).toBe('2');
    });
  });

  describe('ifMatchVersion', () => {
    test('writes if the version is the current one, and only then', async () => {
      const first = await client.put('match', '1');
      const second = await client.put('match', '2', { ifMatchVersion: first });
      const error = await failure(VersionMismatchError, () =>
        client.put('match', '3', { ifMatchVersion: first }),
      );
      expect(error.code).toBe('VERSION_MISMATCH');
      expect(bytesToString(error.key)).toBe('match');
      expect(error.expected.equals(first)).toBe(true);
      expect(error.actual?.equals(second)).toBe(true);
      expect((await client.get('match')).text()).toBe('2');
    });

    test('a missing key matches no version', async () => {
      const version = await client.put('match:gone', '1');
      await client.delete('match:gone');
      const error = await failure(VersionMismatchError, () =>
        client.put('match:gone', '2', { ifMatchVersion: version }),
      );
      expect(error.actual).toBeNull();
      expect(await client.getOrNull('match:gone')).toBeNull();
    });

    test('a version of another term matches nothing', async () => {
      const version = await client.put('match:term', '1');
      await failure(VersionMismatchError, () =>
        client.put('match:term', '2', {
          ifMatchVersion: new Version(version.term + 1n, version.index),
        }),
      );
      expect((await client.get('match:term')).text()).toBe('1');
    });

    test('a refused put takes no revision', async () => {
      const version = await client.put('match:revision', '1');
      await failure(AlreadyExistsError, () =>
        client.put('match:revision', '2', { ifNotExists: true }),
      );
      const next = await client.put('match:revision', '2');
      expect(next.index).toBe(version.index + 1n);
    });
  });

  describe('idempotencyKey', () => {
    test('a repeat answers the first version and changes nothing', async () => {
      const options = { idempotencyKey: 'put:1' };
      const first = await client.put('once', '1', options);
      const after = await client.put('once', '2');
      expect((await client.put('once', '1', options)).equals(first)).toBe(true);
      const entry = await client.get('once');
      expect(entry.text()).toBe('2');
      expect(entry.version.equals(after)).toBe(true);
    });

    test('repeats at once write once', async () => {
      const versions = await Promise.all(
        Array.from({ length: 100 }, () =>
          client.put('once:many', '1', { idempotencyKey: 'put:many' }),
        ),
      );
      expect(new Set(versions.map(String)).size).toBe(1);
      expect((await client.get('once:many')).generation).toBe(1);
    });

    test('the same key with another key, value, option or operation is refused and changes nothing', async () => {
      const idempotencyKey = 'put:same';
      const first = await client.put('once:same', '1', { idempotencyKey });
      const others = [
        () => client.put('once:other', '1', { idempotencyKey }),
        () => client.put('once:same', '2', { idempotencyKey }),
        () => client.put('once:same', '1', { idempotencyKey, ttlMs: 1000 }),
        () => client.put('once:same', '1', { idempotencyKey, ifNotExists: true }),
        () => client.put('once:same', '1', { idempotencyKey, ifMatchVersion: first }),
        () => client.delete('once:same', { idempotencyKey }),
      ];
      for (const other of others) {
        const error = await failure(InvalidArgumentError, other);
        expect(error.retryable).toBe(false);
      }
      expect((await client.get('once:same')).version.equals(first)).toBe(true);
      expect(await client.getOrNull('once:other')).toBeNull();
      expect((await client.put('once:same', '1', { idempotencyKey })).equals(first)).toBe(true);
    });

    test('a refused write records nothing', async () => {
      const idempotencyKey = 'put:refused';
      const stale = await client.put('once:refused', '1');
      const current = await client.put('once:refused', '2');
      await failure(VersionMismatchError, () =>
        client.put('once:refused', '3', { idempotencyKey, ifMatchVersion: stale }),
      );
      await client.put('once:refused', '4', { idempotencyKey, ifMatchVersion: current });
      expect((await client.get('once:refused')).text()).toBe('4');
    });

    test('a repeat of a conditional write answers the first version, not a mismatch', async () => {
      const version = await client.put('once:conditional', '1');
      const options = { idempotencyKey: 'put:conditional', ifMatchVersion: version };
      const first = await client.put('once:conditional', '2', options);
      expect((await client.put('once:conditional', '2', options)).equals(first)).toBe(true);
      const absent = { idempotencyKey: 'put:absent', ifNotExists: true };
      const created = await client.put('once:absent', '1', absent);
      expect((await client.put('once:absent', '1', absent)).equals(created)).toBe(true);
    });

    test('keys of 1 and of 1,024 bytes', async () => {
      for (const idempotencyKey of ['1', 'é'.repeat(512)]) {
        const first = await client.put(`once:${idempotencyKey.length}`, 'x', { idempotencyKey });
        const again = await client.put(`once:${idempotencyKey.length}`, 'x', { idempotencyKey });
        expect(again.equals(first)).toBe(true);
      }
    });
  });

  describe('prevEntry', () => {
    test('answers the version and the entry that was there before, or null', async () => {
      const created = await client.put('before', '1', { prevEntry: true });
      expect(created.prevEntry).toBeNull();
      const changed = await client.put('before', '2', { prevEntry: true });
      expect(changed.version.index).toBe(created.version.index + 1n);
      expect(changed.prevEntry?.text()).toBe('1');
      expect(changed.prevEntry?.keyText()).toBe('before');
      expect(changed.prevEntry?.version.equals(created.version)).toBe(true);
      const plain = await client.put('before', '3', { prevEntry: false });
      expect(plain).toBeInstanceOf(Version);
    });

    test('what expired was not there before', async () => {
      await client.put('before:expired', '1', { ttlMs: 1 });
      await untilGone(client, 'before:expired');
      const { prevEntry } = await client.put('before:expired', '2', { prevEntry: true });
      expect(prevEntry).toBeNull();
    });
  });

  test('two clients see each other’s writes at once', async () => {
    const other = await store.another();
    for (let at = 0; at < 20; at++) {
      await client.put('shared', `${at}`);
      expect((await other.get('shared')).text()).toBe(`${at}`);
    }
  });
});
