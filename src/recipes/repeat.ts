import { CancelledError, ClosedError, NoriKVError } from '@norikv/client';
import type { Deadline } from './deadline.js';

/**
 * Makes a call whose effect is the same when it is made twice, until it is known to have taken place.
 *
 * @throws What the call throws; with `outcome: 'unknown'` only if the time ran out, or nobody waits for it any more.
 */
export async function repeat<T>(call: () => Promise<T>, deadline: Deadline): Promise<T> {
  let doubt: NoriKVError | undefined;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      doubt = await again(error, doubt, deadline);
    }
  }
}

/**
 * What is to be done with an error of a call that may be made again: waits and answers the doubt that is left, or throws. An
 * earlier call whose outcome is not known may have taken place, whatever became of the later ones: the error says so.
 *
 * @param doubt - The error of an earlier call whose outcome is not known.
 */
export async function again(
  error: unknown,
  doubt: NoriKVError | undefined,
  deadline: Deadline,
): Promise<NoriKVError> {
  if (!(error instanceof NoriKVError)) throw error;
  const isLost = error.outcome === 'unknown';
  const left = isLost ? error : doubt;
  if (left === undefined) throw error;
  // Nobody waits for it any more, or nobody could be asked.
  const isOver = error.code === 'CANCELLED' || error.code === 'CLOSED';
  if (isOver || !(isLost || error.retryable)) throw doubtful(error, left);
  await deadline.backOff(error).catch((ended: unknown) => {
    throw ended instanceof CancelledError ? deadline.cancelled('unknown') : doubtful(error, left);
  });
  return left;
}

/** The error, if it says that the outcome is not known, or else one that does. */
function doubtful(error: NoriKVError, doubt: NoriKVError): NoriKVError {
  if (error.outcome === 'unknown') return error;
  const details = { outcome: 'unknown', cause: error } as const;
  if (error.code === 'CANCELLED') return new CancelledError(error.message, details);
  if (error.code === 'CLOSED') return new ClosedError(error.message, details);
  return doubt;
}
