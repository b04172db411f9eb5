// Limits how often something may happen, over all processes, and says when to come back.
import assert from 'node:assert/strict';
import { RateLimiter } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

await using client = await openClient();

// Two objects stand for two processes behind one address.
const name = 'example';
const [here, there] = [
  new RateLimiter(client, { name }),
  new RateLimiter(client, { name }),
] as const;
const limit = { maxRequests: 5, windowMs: 60_000 };

for (let request = 1; request <= 6; request++) {
  const limiter = request % 2 === 0 ? there : here;
  const { allowed, remaining, retryAfterMs } = await limiter.checkLimit('10.0.0.7', limit);
  assert.equal(allowed, request <= 5);
  console.log(
    `request ${request}:`,
    allowed
      ? `allowed, ${remaining} left`
      : `refused, come back in ${Math.ceil(retryAfterMs / 1000)} s`,
  );
}

// Many at once, from both sides: no more than allowed get through.
const burst = await Promise.all(
  Array.from({ length: 100 }, (_, at) =>
    (at % 2 === 0 ? here : there).checkLimit('user:ada', { maxRequests: 10, windowMs: 60_000 }),
  ),
);
const through = burst.filter(({ allowed }) => allowed).length;
assert.equal(through, 10);
console.log(`of a burst of ${burst.length}, ${through} were allowed`);

// Another limit on the same id is another count.
const daily = await here.checkLimit('10.0.0.7', { maxRequests: 1000, windowMs: 86_400_000 });
console.log('under the limit of a day it has', daily.remaining, 'left');
assert.equal(daily.remaining, 999);

await there.reset('10.0.0.7');
assert.equal((await here.checkLimit('10.0.0.7', limit)).remaining, 4);
console.log('after a reset it may begin again');

await here.reset('10.0.0.7');
await here.reset('user:ada');
