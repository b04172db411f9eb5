/** Any function or class: where an error's stack is cut off. */
export type Caller = ((...args: never[]) => unknown) | (new (...args: never[]) => unknown);

/** What V8 has and other engines may not have: their errors keep the whole stack. */
const engine: Pick<ErrorConstructor, 'prototype'> & {
  captureStackTrace?: (error: Error, below: Caller) => void;
} = Error;

/** Does what may refuse bad input; its error's stack begins where `caller` was called. */
export function refusing<T>(caller: Caller, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof Error) cutStack(error, caller);
    throw error;
  }
}

/**
 * Begins an error's stack where `caller` was called: our own frames tell the reader nothing.
 *
 * Called from `caller`, before or after its first `await`: the frames left are the caller's own, those of `await`
 * included. A caller that does not await (`.then(…)`) has none by then; the stack then keeps ours.
 */
export function cutStack(error: Error, caller: Caller): void {
  const whole = error.stack;
  engine.captureStackTrace?.(error, caller);
  if (error.stack?.includes('\n    at ') !== true && whole !== undefined) error.stack = whole;
}
