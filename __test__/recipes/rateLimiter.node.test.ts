// Node only: a proxy of sockets takes replies away.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { RateLimiter } from '@norikv/client/recipes';
import { lossy } from './lost';
import type { Lossy } from './lost';

const limit = { maxRequests: 3, windowMs: 60_000 };

describe('a RateLimiter whose replies get lost', () => {
  let store: Lossy;

  beforeEach(async () => {
    store = await lossy();
  });
  afterEach(() => store.close());

  test('counts a request once though the reply is lost (asking again counts it twice)', async () => {
    const far = new RateLimiter(store.far);
    const near = new RateLimiter(store.near);
    for (const remaining of [2, 1]) {
      const result = await store.lose('put', () => far.checkLimit('a', limit));
      expect(result).toMatchObject({ allowed: true, remaining });
    }
    expect(await near.checkLimit('a', limit)).toMatchObject({ allowed: true, remaining: 0 });
  });

  test('counts it once also when others are counted before it can ask again', async () => {
    const far = new RateLimiter(store.far);
    const near = new RateLimiter(store.near);
    const result = await store.lose(
      'put',
      () => far.checkLimit('a', limit),
      () => near.checkLimit('a', limit),
    );
    expect(result).toMatchObject({ allowed: true, remaining: 2 });
    expect(await near.checkLimit('a', limit)).toMatchObject({ allowed: true, remaining: 0 });
  });

  test('a reset whose reply is lost is a reset', async () => {
    const far = new RateLimiter(store.far);
    await far.checkLimit('a', limit);
    await store.lose('deleteRange', () => far.reset('a'));
    expect(await far.checkLimit('a', limit)).toMatchObject({ allowed: true, remaining: 2 });
  });
});
