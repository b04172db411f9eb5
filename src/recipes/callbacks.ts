/** Ends the registration of a callback. */
export type Unsubscribe = () => void;

/**
 * Calls what a user registered. What it throws is the user's: it does not keep the others from being called, and is thrown where
 * uncaught errors go. So is what a promise that it answers rejects with.
 */
export function callEach<Args extends readonly unknown[]>(
  callbacks: Iterable<(...args: Args) => unknown>,
  ...args: Args
): void {
  for (const callback of [...callbacks]) {
    try {
      const answer = callback(...args);
      if (answer instanceof Promise) answer.catch(throwUncaught);
    } catch (error) {
      throwUncaught(error);
    }
  }
}

/** Throws an error that nobody here can handle where uncaught errors go. */
export function throwUncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
