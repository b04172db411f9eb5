import { describe, expect, test } from '@jest/globals';
import { DeadlineExceededError } from '@norikv/client';
import { kinds } from './stores';

describe.each(kinds)('time limits of calls to $name', (kind) => {
  test('a limit that is not reached changes nothing', async () => {
    const store = await kind.open();
    const { client } = store;
    await client.put('a', '1', { timeoutMs: 10_000 });
    expect((await client.get('a', { timeoutMs: 9999.5 })).text()).toBe('1');
    expect(await client.count({}, { timeoutMs: 2 ** 32 - 1 })).toBe(1);
    await store.close();
  });

  test('a limit that is too short for its call is a DeadlineExceededError, or the answer', async () => {
    const store = await kind.open();
    const { client } = store;
    const value = new Uint8Array(1024 * 1024);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 30 }, (_, at) => client.put(`large:${at}`, value, { timeoutMs: 1 })),
    );
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') {
        expect((await client.get(`large:${at}`)).version.equals(outcome.value)).toBe(true);
      } else {
        expect(outcome.reason).toBeInstanceOf(DeadlineExceededError);
        expect(outcome.reason).toMatchObject({
          code: 'DEADLINE_EXCEEDED',
          timeoutMs: 1,
          outcome: 'unknown',
        });
      }
    }
    await store.close();
  });
});
