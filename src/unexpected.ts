import { InternalError } from './errors.js';

/** The core answered a call with what is no answer to it. */
export function unexpected(call: string): InternalError {
  return new InternalError(`the core answered ${call} with something else`);
}
