import { InvalidArgumentError } from '@norikv/client';
import { describe } from './keys.js';

/** Ends the registration of a callback. */
export type Unsubscribe = () => void;

/** Refuses what is given for a callback and is no function. */
export function checkCallback(callback: unknown, what: string): void {
  if (callback !== undefined && typeof callback !== 'function') {
    throw new InvalidArgumentError(`${what} is a function; got ${describe(callback)}`);
  }
}

/** Adds a callback to those that are called; answers how to take it back. */
export function register<T>(callbacks: Set<T>, callback: T, what: string): Unsubscribe {
  if (typeof callback !== 'function') {
    throw new InvalidArgumentError(`${what} takes a function; got ${describe(callback)}`);
  }
  callbacks.add(callback);
  return () => void callbacks.delete(callback);
}

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
