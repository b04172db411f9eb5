// Only Node has the processes whose traces are checked: that each check sees what is wrong, from traces written by hand.
import { describe, expect, test } from '@jest/globals';
import {
  failures,
  heldTwice,
  intervalsOf,
  miscounted,
  misstocked,
  olderAfterNewer,
  oversold,
  overLimit,
  slowSuccessions,
} from './trace';
import type { Line } from './trace';

type Rest = Partial<Omit<Line, 'at' | 'who' | 'what'>>;

const line = (at: number, who: string, what: string, rest: Rest = {}): Line => ({
  at,
  who,
  what,
  ...rest,
});

/** A process that holds from one time to another. */
const held = (who: string, begin: number, end: number, token: string): Line[] => [
  line(begin, who, 'holds', { token }),
  line(end, who, 'still'),
  line(end + 1, who, 'lets go'),
];

describe('holders', () => {
  test('one after the other are right', () => {
    expect(heldTwice([...held('b', 20, 30, '1.9'), ...held('a', 0, 10, '1.5')])).toEqual([]);
  });

  test('two at one time are seen, and so are three in one another', () => {
    const [first, second] = [held('a', 0, 20, '1.5'), held('b', 19, 30, '1.9')];
    expect(heldTwice([...first, ...second])).toHaveLength(1);
    const long = held('a', 0, 100, '1.1');
    const both = [...held('b', 10, 20, '1.2'), ...held('c', 90, 95, '1.3')];
    expect(heldTwice([...long, ...both])).toHaveLength(2);
  });

  test('a process that was killed held until it was last heard of', () => {
    const killed = [line(0, 'a', 'holds', { token: '1.1' }), line(15, 'a', 'still')];
    expect(heldTwice([...killed, ...held('b', 14, 20, '1.2')])).toHaveLength(1);
    expect(heldTwice([...killed, ...held('b', 16, 20, '1.2')])).toEqual([]);
    expect(intervalsOf(killed)).toMatchObject([{ end: 15, left: false }]);
  });

  test('tokens that do not grow are seen, also where text would be in order', () => {
    expect(heldTwice([...held('a', 0, 1, '1.9'), ...held('b', 2, 3, '1.10')])).toEqual([]);
    expect(heldTwice([...held('a', 0, 1, '1.10'), ...held('b', 2, 3, '1.9')])).toHaveLength(1);
    expect(heldTwice([...held('a', 0, 1, '1.9'), ...held('b', 2, 3, '1.9')])).toHaveLength(1);
  });

  test('a write with an older token after one with a newer is seen', () => {
    expect(olderAfterNewer(['1.2', '1.2', '1.10'])).toEqual([]);
    expect(olderAfterNewer(['1.2', '1.10', '1.2', '1.11'])).toHaveLength(1);
  });
});

describe('successions', () => {
  const killed = [line(0, 'a', 'holds', { token: '1.1' }), line(15, 'a', 'still')];

  test('one in time is right; one that is late, and none at all, are seen', () => {
    const next = held('b', 80, 90, '1.2');
    expect(slowSuccessions([...killed, ...next], [{ who: 'a', at: 16 }], 100)).toEqual([]);
    expect(slowSuccessions([...killed, ...next], [{ who: 'a', at: 16 }], 50)).toHaveLength(1);
    expect(slowSuccessions(killed, [{ who: 'a', at: 16 }], 50)).toHaveLength(1);
  });

  test('who did not lead any more needs none', () => {
    expect(slowSuccessions(held('a', 0, 10, '1.1'), [{ who: 'a', at: 16 }], 50)).toEqual([]);
    expect(slowSuccessions(killed, [{ who: 'b', at: 16 }], 50)).toEqual([]);
  });
});

describe('limits', () => {
  const asked = (from: number, to: number, allowed = true): Line[] => [
    line(from, `p${from}`, 'asks'),
    line(to, `p${from}`, 'told', { allowed }),
  ];
  const limit = { maxRequests: 2, windowMs: 100 };

  test('as many as may be are right, in each window', () => {
    const calls = [asked(0, 1), asked(50, 51), asked(101, 102), asked(151, 152)];
    expect(overLimit(calls.flat(), limit)).toEqual([]);
  });

  test('one more is seen, in a window that begins anywhere', () => {
    const calls = [asked(0, 1), asked(60, 61), asked(110, 111), asked(150, 151)];
    expect(overLimit(calls.flat(), limit)).toHaveLength(1);
  });

  test('what was refused, or may lie outside of the window, does not count', () => {
    const refused = [asked(0, 1), asked(50, 51), asked(60, 61, false)];
    expect(overLimit(refused.flat(), limit)).toEqual([]);
    const long = [asked(0, 1), asked(50, 51), asked(60, 130)];
    expect(overLimit(long.flat(), limit)).toEqual([]);
  });
});

describe('counters', () => {
  const added = (who: string, end?: string): Line[] => [
    line(0, who, 'adds', { name: 'c', amount: 3, lane: 1 }),
    ...(end === undefined ? [] : [line(1, who, end, { name: 'c', lane: 1 })]),
  ];

  test('a count that is short, or too large, is seen', () => {
    const lines = [...added('a', 'added'), ...added('b', 'added')];
    expect(miscounted(lines, 'c', 6)).toEqual([]);
    expect(miscounted(lines, 'c', 5)).toHaveLength(1);
    expect(miscounted(lines, 'c', 7)).toHaveLength(1);
  });

  test('what was under way at a kill may count or not, what failed must not', () => {
    const lines = [...added('a', 'added'), ...added('b'), ...added('c', 'unknown')];
    for (const [value, wrong] of [
      [2, 1],
      [3, 0],
      [9, 0],
      [10, 1],
    ] as const) {
      expect(miscounted(lines, 'c', value)).toHaveLength(wrong);
    }
    expect(miscounted(added('a', 'failed'), 'c', 3)).toHaveLength(1);
  });

  test('lines of two lanes do not end each other', () => {
    const lines = [
      line(0, 'a', 'adds', { name: 'c', amount: 1, lane: 1 }),
      line(1, 'a', 'adds', { name: 'c', amount: 1, lane: 2 }),
      line(2, 'a', 'added', { name: 'c', lane: 2 }),
    ];
    expect(miscounted(lines, 'c', 1)).toEqual([]);
    expect(miscounted(lines, 'c', 2)).toEqual([]);
    expect(miscounted(lines, 'c', 0)).toHaveLength(1);
  });
});

describe('stock', () => {
  const sold = (who: string, amount: number, end?: string): Line[] => [
    line(0, who, 'commits', { amount }),
    ...(end === undefined ? [] : [line(1, who, end)]),
  ];

  test('what was sold is gone, and nothing else', () => {
    const lines = [...sold('a', 3, 'committed'), ...sold('b', 2, 'gone')];
    expect(misstocked(lines, { stock: 10, available: 7 })).toEqual([]);
    // A reservation that ran out and was kept; one that was given back twice.
    expect(misstocked(lines, { stock: 10, available: 5 })).toHaveLength(1);
    expect(misstocked(lines, { stock: 10, available: 8 })).toHaveLength(1);
  });

  test('a sale that was under way at a kill may be one', () => {
    for (const available of [7, 5]) {
      const lines = [...sold('a', 3, 'committed'), ...sold('b', 2)];
      expect(misstocked(lines, { stock: 10, available })).toEqual([]);
    }
  });

  test('stock below zero is seen, also when it was for a moment only', () => {
    const lines = sold('a', 3, 'committed');
    const moment = line(5, 'b', 'finds', { amount: -1 });
    expect(misstocked([...lines, moment], { stock: 10, available: 7 })).toHaveLength(1);
    expect(misstocked(sold('a', 11, 'committed'), { stock: 10, available: -1 })).toHaveLength(2);
  });
});

describe('reservations', () => {
  const reserved = (who: string, at: number, amount: number): Line[] => [
    line(at, who, 'reserves', { amount }),
    line(at + 1, who, 'reserved', { name: who }),
  ];
  const ended = (who: string, at: number, what: string, end: string): Line[] => [
    line(at, who, what, { name: who, amount: 6 }),
    line(at + 1, who, end, { name: who }),
  ];
  const stock = { stock: 10, ttlMs: 100 };

  test('that are more than there is are seen', () => {
    expect(oversold([...reserved('a', 0, 6), ...reserved('b', 10, 4)], stock)).toEqual([]);
    expect(oversold([...reserved('a', 0, 6), ...reserved('b', 10, 5)], stock)).toHaveLength(1);
  });

  test('that were given back, or ran out, hold nothing', () => {
    const released = ended('a', 5, 'releases', 'released');
    const next = reserved('b', 10, 5);
    expect(oversold([...reserved('a', 0, 6), ...released, ...next], stock)).toEqual([]);
    expect(oversold([...reserved('a', 0, 6), ...reserved('b', 100, 5)], stock)).toEqual([]);
  });

  test('that were committed hold for ever, and those that ran out before do not', () => {
    const late = reserved('b', 500, 5);
    const committed = ended('a', 5, 'commits', 'committed');
    expect(oversold([...reserved('a', 0, 6), ...committed, ...late], stock)).toHaveLength(1);
    const gone = ended('a', 5, 'commits', 'gone');
    expect(oversold([...reserved('a', 0, 6), ...gone, ...late], stock)).toEqual([]);
  });
});

test('failures count but in processes that were paused', () => {
  const lines = [line(0, 'a', 'failed', { error: 'x' }), line(0, 'b', 'failed', { error: 'y' })];
  expect(failures(lines, [{ who: 'b', at: 0 }])).toEqual(['a failed at 0.000 ms: x']);
  const lost = [line(0, 'a', 'failed', { error: 'LeaseLostError: x' })];
  expect(failures(lost, [])).toHaveLength(1);
  expect(failures(lost, [], ['LeaseLostError'])).toEqual([]);
});
