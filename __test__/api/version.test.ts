import { describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, Version } from '@norikv/client';
import { failure } from './errors';

const largest = 2n ** 64n - 1n;

describe('a version', () => {
  test.each([
    [0n, 0n],
    [1n, 2n],
    [2n ** 53n + 1n, 2n ** 63n],
    [largest, largest],
  ])('of %d and %d survives text and JSON without loss', (term, index) => {
    const version = new Version(term, index);
    expect(version.toString()).toBe(`${term}.${index}`);
    expect(Version.parse(version.toString()).equals(version)).toBe(true);
    const json = JSON.stringify({ version });
    expect(json).toBe(`{"version":"${term}.${index}"}`);
    const parsed = Version.parse((JSON.parse(json) as { version: string }).version);
    expect([parsed.term, parsed.index]).toEqual([term, index]);
  });

  test('compares by term, then by index', () => {
    const sorted = [
      new Version(0n, largest),
      new Version(1n, 0n),
      new Version(1n, 2n ** 53n),
      new Version(1n, 2n ** 53n + 1n),
      new Version(largest, 0n),
    ];
    sorted.forEach((a, left) => {
      sorted.forEach((b, right) => {
        expect(Math.sign(a.compare(b))).toBe(Math.sign(left - right));
        expect(a.equals(b)).toBe(left === right);
      });
    });
  });

  test('is of two bigints from 0 to 2^64 - 1', async () => {
    for (const [term, index] of [
      [-1n, 0n],
      [0n, -1n],
      [largest + 1n, 0n],
      [0n, largest + 1n],
      [1, 1n],
      [1n, '1'],
      [undefined, undefined],
      [null, Symbol('no')],
    ]) {
      await failure(InvalidArgumentError, () => new Version(term as never, index as never));
    }
  });

  test('is parsed from "term.index" only', async () => {
    const wrong = ['', '1', '1.', '.1', '1.2.3', '-1.0', '1.-2', '+1.2', ' 1.2', '1.2 ', '0x1.2'];
    const large = [`1.${largest + 1n}`, `${'9'.repeat(30)}.1`];
    for (const text of [...wrong, ...large, 'a.b', '1,2', null, undefined, 1.2, 5n, {}]) {
      await failure(InvalidArgumentError, () => Version.parse(text as never));
    }
  });
});
