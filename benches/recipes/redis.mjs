// What people use on Redis, all through ioredis: redlock, rate-limiter-flexible, and INCR.
import { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import Redlock from 'redlock';
import { LIMIT, idOf } from './work.mjs';

export async function open({ address }) {
  const [host, port] = address.split(':');
  const redis = new Redis({ host, port: Number(port) });
  await redis.ping();
  const redlock = new Redlock([redis]);
  const limiter = new RateLimiterRedis({
    storeClient: redis,
    points: LIMIT.maxRequests,
    duration: LIMIT.windowMs / 1000,
  });
  return {
    async lock() {
      const lock = await redlock.lock('bench', 10_000);
      await lock.unlock();
    },
    checkMany: (n) => limiter.consume(idOf(n)),
    checkOne: () => limiter.consume('one'),
    increment: () => redis.incr('bench'),
    close: () => redis.quit(),
  };
}
