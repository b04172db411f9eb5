// What plain JavaScript may hand to a recipe.
import { expect } from '@jest/globals';
import { InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';

/** What is no name. */
export const badNames: readonly unknown[] = [
  '',
  'x'.repeat(257),
  'ä'.repeat(129),
  'half \ud800',
  undefined,
  null,
  7,
  {},
  ['a'],
  new Uint8Array([1]),
];

/** Names that are names, though they look like something else. */
export const strangeNames: readonly string[] = [
  'a/b',
  'a:b',
  'a%2Fb',
  'a b',
  '/',
  '%',
  '..',
  'constructor',
  '__proto__',
  'toString',
  '日本語',
  '\u{1f600}',
  '\0',
  'x'.repeat(256),
];

/** What is no whole number above zero. */
export const badCounts: readonly unknown[] = [
  0,
  -1,
  1.5,
  NaN,
  Infinity,
  2 ** 53,
  '3',
  3n,
  null,
  {},
];

/** What are no options of a call. */
export const badOptions: readonly unknown[] = [
  null,
  5,
  'x',
  { timeoutMs: 0 },
  { timeoutMs: NaN },
  { timeoutMs: '5' },
  { signal: {} },
];

/** Expects the call to be refused as one that can never succeed. */
export async function expectRefused(call: () => unknown): Promise<void> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return;
  }
  throw new Error(`it was not refused, but answered ${String(answer)}`);
}

/** How many keys there are. */
export async function keysOf(client: NoriKVClient): Promise<string[]> {
  const entries = await client.scan({ keysOnly: true }).toArray();
  return entries.map((entry) => entry.keyText());
}

/** Calls a method as plain JavaScript can: with anything. */
export function invoke(target: object, method: string, ...args: readonly unknown[]): unknown {
  const found: unknown = Reflect.get(target, method);
  if (typeof found !== 'function') throw new Error(`there is no method ${method}`);
  return Reflect.apply(found, target, args);
}
