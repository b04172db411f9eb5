import type { NoriKVClient } from '@norikv/client';
import { RateLimiter } from '@norikv/client/recipes';
import { HttpError, shopOf } from './http.js';
import type { Handler } from './http.js';
import type { Settings } from './settings.js';

/** Counts requests by shop and customer, over all processes, and says in headers how many are left. */
export function limitRequests(client: NoriKVClient, settings: Settings): Handler {
  const limiter = new RateLimiter(client, { name: 'shop' });
  const { limit, timeoutMs } = settings;
  return async (request, response, next) => {
    const who = response.locals.session?.userId ?? request.ip ?? 'somebody';
    const id = JSON.stringify([shopOf(response).tenantId, who]);
    const result = await limiter.checkLimit(id, limit, { timeoutMs });
    response.set({
      'X-RateLimit-Limit': String(limit.maxRequests),
      'X-RateLimit-Remaining': String(result.remaining),
      'X-RateLimit-Reset': String(Math.ceil(result.resetAt / 1000)),
    });
    if (!result.allowed) {
      const seconds = Math.max(1, Math.ceil(result.retryAfterMs / 1000));
      throw new HttpError(429, 'too many requests', { 'Retry-After': String(seconds) });
    }
    next();
  };
}
