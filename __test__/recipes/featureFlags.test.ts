import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  ClosedError,
  CorruptionError,
  InvalidArgumentError,
  KeyNotFoundError,
  UnavailableError,
} from '@norikv/client';
import { ConfigManager, FeatureFlags } from '@norikv/client/recipes';
import type { Rollout } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import type { Gated } from './gate';

const users = Array.from({ length: 2_000 }, (_, at) => `user-${at}`);

describe.each([memory, servedFile])('FeatureFlags on $name', (kind) => {
  let store: TestStore;
  let gate: Gated;
  let config: ConfigManager;
  let flags: FeatureFlags;

  beforeEach(async () => {
    store = await kind.open();
    gate = gated(store.client);
    config = new ConfigManager(gate.client, 'app');
    flags = new FeatureFlags(config);
  });
  afterEach(async () => {
    await config.close();
    await store.close();
  });

  /** Whom a flag is on for. */
  async function on(name: string): Promise<Set<string>> {
    const found = new Set<string>();
    for (const user of users) if (await flags.isEnabled(name, { user })) found.add(user);
    return found;
  }

  test('a flag is on, off, or there not; asking takes no round trip', async () => {
    await flags.enable('new-ui');
    await flags.disable('old-ui');
    const before = gate.total();
    expect(await flags.isEnabled('new-ui')).toBe(true);
    expect(await flags.isEnabled('old-ui', { default: true })).toBe(false);
    expect(await flags.isEnabled('nothing', { default: true })).toBe(true);
    await expect(flags.isEnabled('nothing')).rejects.toThrow(KeyNotFoundError);
    expect(gate.total()).toBe(before);
    expect([...(await flags.getAllFlags())]).toEqual([
      ['new-ui', true],
      ['old-ui', false],
    ]);
  });

  test('an error is an error, and never off (the naive flag is off whenever something fails)', async () => {
    for (const value of ['true', 1, null, [], {}, { percentage: '10' }, { percentage: 101 }]) {
      await config.set('features/odd', value);
      await expect(flags.isEnabled('odd')).rejects.toThrow(CorruptionError);
      await expect(flags.isEnabled('odd', { default: false })).rejects.toThrow(CorruptionError);
      await expect(flags.getAllFlags()).rejects.toThrow('features/odd');
    }
    const away = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'watch') return Reflect.get(of, name, of) as unknown;
        return () => {
          throw new UnavailableError('the store is away');
        };
      },
    });
    await using unread = new ConfigManager(away, 'app');
    const asking = new FeatureFlags(unread).isEnabled('a', { default: false });
    await expect(asking).rejects.toThrow(UnavailableError);
    await config.close();
    await expect(flags.isEnabled('odd', { default: false })).rejects.toThrow(ClosedError);
  });

  test('a rollout is for that many of the users, and who has it keeps it when it grows', async () => {
    let before = new Set<string>();
    for (const percentage of [0, 0.5, 10, 50, 99.9, 100]) {
      await flags.setRollout('new-ui', { percentage });
      const now = await on('new-ui');
      expect([...before].every((user) => now.has(user))).toBe(true);
      // Four standard deviations of what chance would do.
      const expected = (users.length * percentage) / 100;
      const spread = 4 * Math.sqrt(expected * (1 - percentage / 100)) + 1e-9;
      expect(Math.abs(now.size - expected)).toBeLessThanOrEqual(spread);
      before = now;
    }
  });

  test('users who are among the first of one flag are not so of another', async () => {
    await flags.setRollout('one', { percentage: 20 });
    await flags.setRollout('two', { percentage: 20 });
    const [one, two] = [await on('one'), await on('two')];
    const both = [...one].filter((user) => two.has(user)).length;
    expect(both).toBeGreaterThan(users.length * 0.02);
    expect(both).toBeLessThan(users.length * 0.07);
  });

  test('some have it in any case, and some in no case; without a user it cannot be said', async () => {
    await flags.setRollout('new-ui', { percentage: 0, users: ['ada', '__proto__'] });
    expect(await flags.isEnabled('new-ui', { user: 'ada' })).toBe(true);
    expect(await flags.isEnabled('new-ui', { user: '__proto__' })).toBe(true);
    expect(await flags.isEnabled('new-ui', { user: 'grace' })).toBe(false);
    await flags.setRollout('new-ui', { percentage: 100, except: ['ada'] });
    expect(await flags.isEnabled('new-ui', { user: 'ada' })).toBe(false);
    expect(await flags.isEnabled('new-ui', { user: 'grace' })).toBe(true);
    await expect(flags.isEnabled('new-ui')).rejects.toThrow(InvalidArgumentError);
    await expect(flags.isEnabled('new-ui', { default: true })).rejects.toThrow(
      InvalidArgumentError,
    );
    await flags.enable('new-ui');
    expect(await flags.isEnabled('new-ui')).toBe(true);
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const name of ['', '/', 'a//b', 7, null, '\ud800']) {
      const bad = name as string;
      await expect(flags.enable(bad)).rejects.toThrow(InvalidArgumentError);
      await expect(flags.disable(bad)).rejects.toThrow(InvalidArgumentError);
      await expect(flags.setRollout(bad, { percentage: 1 })).rejects.toThrow(InvalidArgumentError);
      await expect(flags.isEnabled(bad)).rejects.toThrow(InvalidArgumentError);
    }
    const rollouts: unknown[] = [
      undefined,
      null,
      true,
      [],
      {},
      ...[-1, 100.1, NaN, Infinity, '10', null].map((percentage) => ({ percentage })),
      { percentage: 1, users: 'ada' },
      { percentage: 1, users: [''] },
      { percentage: 1, users: [7] },
      { percentage: 1, except: [null] },
      { percentage: 1, users: ['ada'], except: ['ada'] },
      { percentage: 1, extra: true },
    ];
    for (const rollout of rollouts) {
      const bad = flags.setRollout('a', rollout as Rollout);
      await expect(bad).rejects.toThrow(InvalidArgumentError);
    }
    for (const options of [{ user: '' }, { user: 7 }, { default: 'no' }, { users: 'x' }]) {
      const bad = flags.isEnabled('a', options as object);
      await expect(bad).rejects.toThrow(InvalidArgumentError);
    }
    expect(() => Reflect.construct(FeatureFlags, [{}]) as unknown).toThrow(InvalidArgumentError);
    expect(await store.client.count({ prefix: '' })).toBe(0);
  });
});
