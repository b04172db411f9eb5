import { NoriKVError } from '@norikv/client';
import type { Deadline } from './deadline.js';

/**
 * Makes a call whose effect is the same when it is made twice, until it is known to have taken place.
 *
 * @throws What the call throws; with `outcome: 'unknown'` only if the time ran out, or nobody waits for it any more.
 */
export async function repeat<T>(call: () => Promise<T>, deadline: Deadline): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const lost = error instanceof NoriKVError && error.outcome === 'unknown';
      if (!lost || error.code === 'CANCELLED' || error.code === 'CLOSED') throw error;
      await deadline.backOff(error).catch(() => {
        throw error;
      });
    }
  }
}
