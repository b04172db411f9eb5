// What the suites say of errors.
import { expect } from '@jest/globals';
import { NoriKVError } from '@norikv/client';

/** What `call` fails with: an error of this package, by its class, with a stack that begins in the caller's code. */
export async function failure<E extends NoriKVError>(
  errorClass: abstract new (...args: never[]) => E,
  call: () => unknown,
): Promise<E> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    expect(error).toBeInstanceOf(errorClass);
    expect(error).toBeInstanceOf(NoriKVError);
    expectOwnStack(error as Error);
    return error as E;
  }
  throw new Error(`expected a ${errorClass.name}, but the call answered ${String(answer)}`);
}

/** The first frame of an error's stack is in a test file, and none of the package's comes before it. */
export function expectOwnStack(error: Error): void {
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const first = frames.find((frame) => /[/\\]__test__[/\\]|[/\\](dist|src)[/\\]/.test(frame));
  expect(first).toMatch(/__test__[/\\]/);
}
