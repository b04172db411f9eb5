// What processes that were killed and paused wrote down, and what must hold of it. The checks know nothing of how a recipe
// works: they see when a process said what, by the machine's clock, which is the same for all of them.

/** A line of a trace. */
export interface Line {
  /** The time, in milliseconds of the machine's monotonic clock. */
  readonly at: number;
  /** The process: one that was killed and its successor have different names. */
  readonly who: string;
  /** What it says. */
  readonly what: string;
  /** Which of the things that a process does at once. */
  readonly lane?: number;
  /** What it is about: a counter, a reservation. */
  readonly name?: string;
  /** The fencing token, as `term.index`. */
  readonly token?: string;
  /** How much was added, reserved or found. */
  readonly amount?: number;
  /** Whether a limiter let the call through. */
  readonly allowed?: boolean;
  /** Why something failed. */
  readonly error?: string;
}

/** A process that was killed, or paused. */
export interface Hit {
  readonly who: string;
  /** When it began; a pause ends at `until`. */
  readonly at: number;
  readonly until?: number;
}

/** A time in which a process certainly held a lock or led. */
export interface Interval {
  readonly who: string;
  readonly begin: number;
  end: number;
  readonly token: string;
  /** Whether it ended because its process said so, not because nothing more was heard of it. */
  left: boolean;
}

const ms = (time: number): string => `${time.toFixed(3)} ms`;

/** A token as a number that grows with it. */
function order(token: string): bigint {
  const [term = '', index = ''] = token.split('.');
  return (BigInt(term) << 64n) + BigInt(index);
}

/**
 * The times of holding, in the order in which they began. A process writes `holds` with a time after it saw that it holds, then
 * `still` with times before it saw so again: it held all the time between the first and the last of them.
 */
export function intervalsOf(lines: readonly Line[]): Interval[] {
  const all: Interval[] = [];
  const open = new Map<string, Interval>();
  for (const { at, who, what, token = '' } of lines) {
    if (what === 'holds') {
      const interval = { who, begin: at, end: at, token, left: false };
      all.push(interval);
      open.set(who, interval);
    }
    const interval = open.get(who);
    if (interval === undefined) continue;
    if (what === 'still') interval.end = at;
    if (what === 'lets go' || what === 'lost') interval.left = true;
  }
  return all.sort((a, b) => a.begin - b.begin);
}

/** Two holders at one time, and tokens that do not grow. */
export function heldTwice(lines: readonly Line[]): string[] {
  const wrong: string[] = [];
  let last: Interval | undefined;
  for (const next of intervalsOf(lines)) {
    if (last !== undefined && next.begin < last.end) {
      wrong.push(
        `${next.who} held from ${ms(next.begin)} on, while ${last.who} held until ${ms(last.end)}`,
      );
    }
    if (last !== undefined && order(next.token) <= order(last.token)) {
      wrong.push(
        `${next.who} held with token ${next.token} after ${last.who} with token ${last.token}`,
      );
    }
    if (last === undefined || next.end >= last.end) last = next;
  }
  return wrong;
}

/** Writes to a protected thing with a token older than one before; in the order in which the store made them. */
export function olderAfterNewer(tokens: readonly string[]): string[] {
  let newest = '0.0';
  return tokens.flatMap((token) => {
    const stale = order(token) < order(newest);
    if (!stale) newest = token;
    return stale ? [`a write with token ${token} came after one with token ${newest}`] : [];
  });
}

/** Leaders that were killed or paused and had no successor in time. */
export function slowSuccessions(
  lines: readonly Line[],
  hits: readonly Hit[],
  limitMs: number,
): string[] {
  const intervals = intervalsOf(lines);
  return hits.flatMap(({ who, at }) => {
    const led = intervals.findLast((each) => each.who === who && each.begin <= at);
    // It did not lead, or had lost it before.
    if (led === undefined || (led.left && led.end < at)) return [];
    const next = intervals.find((each) => each.begin > led.begin);
    const took = (next?.begin ?? Infinity) - at;
    return took > limitMs
      ? [`nobody followed ${who}, hit at ${ms(at)}, within ${limitMs} ms: it took ${ms(took)}`]
      : [];
  });
}

/** A limiter's clock and the machine's tick in whole milliseconds each. */
const CLOCKS_MS = 2;

/** Windows in which more calls were let through than may be. A call took effect between its first and its last line. */
export function overLimit(
  lines: readonly Line[],
  { maxRequests, windowMs }: { readonly maxRequests: number; readonly windowMs: number },
): string[] {
  const calls = callsOf(lines, 'asks').flatMap(({ begin, end }) =>
    end?.allowed === true ? [{ from: begin.at, to: end.at }] : [],
  );
  const width = windowMs - CLOCKS_MS;
  return calls.flatMap(({ from }) => {
    const within = calls.filter((call) => call.from >= from && call.to < from + width).length;
    return within > maxRequests
      ? [`${within} calls were let through within the ${windowMs} ms from ${ms(from)} on`]
      : [];
  });
}

/** Something that was begun, and the line that says how it ended, if there is one. */
interface Call {
  readonly begin: Line;
  readonly end: Line | undefined;
}

/** What began with a line that says `what`: the next line of the same process and lane ends it. */
export function callsOf(lines: readonly Line[], what: string): Call[] {
  const open = new Map<string, Line>();
  const calls: Call[] = [];
  for (const line of lines) {
    const lane = `${line.who} ${line.lane ?? 0}`;
    const begin = open.get(lane);
    if (begin !== undefined) calls.push({ begin, end: line });
    open.delete(lane);
    if (line.what === what) open.set(lane, line);
  }
  return [...calls, ...[...open.values()].map((begin) => ({ begin, end: undefined }))];
}

/** The sums of what was certainly done, and of what may have been. */
export function sumsOf(
  lines: readonly Line[],
  [begin, done]: readonly [string, string],
): { readonly certain: number; readonly open: number } {
  let [certain, open] = [0, 0];
  for (const call of callsOf(lines, begin)) {
    const amount = call.begin.amount ?? 0;
    if (call.end?.what === done) certain += amount;
    else if (call.end === undefined || call.end.what === 'unknown') open += amount;
  }
  return { certain, open };
}

/** A counter that does not have what was added to it. */
export function miscounted(lines: readonly Line[], name: string, value: number): string[] {
  const of = lines.filter((line) => line.name === name);
  const { certain, open } = sumsOf(of, ['adds', 'added']);
  return value < certain || value > certain + open
    ? [`${name} is ${value}; ${certain} was acknowledged, and ${open} is not known`]
    : [];
}

/** Stock that is below zero, sold twice, lost or kept. `available` is what was there after the last reservation ran out. */
export function misstocked(
  lines: readonly Line[],
  { stock, available }: { readonly stock: number; readonly available: number },
): string[] {
  const wrong = lines.flatMap(({ at, who, what, amount = 0 }) =>
    what === 'finds' && (amount < 0 || amount > stock)
      ? [`${who} found ${amount} of ${stock} available at ${ms(at)}`]
      : [],
  );
  const { certain, open } = sumsOf(lines, ['commits', 'committed']);
  const sold = stock - available;
  if (available < 0) wrong.push(`${available} are available`);
  if (certain > stock) wrong.push(`${certain} of ${stock} were sold`);
  if (sold < certain || sold > certain + open) {
    wrong.push(
      `${available} of ${stock} are available; ${certain} were sold, and of ${open} it is not known`,
    );
  }
  return wrong;
}

/**
 * Stock that is promised to more than it is enough for. A reservation certainly holds its stock from when its process knew of it
 * until it begins to give it back, or until its time is up as of before it was asked for; and for ever, if it was committed.
 */
export function oversold(
  lines: readonly Line[],
  { stock, ttlMs }: { readonly stock: number; readonly ttlMs: number },
): string[] {
  const sold = new Set<string>();
  const ends = new Map<string, number>();
  for (const what of ['commits', 'releases']) {
    for (const { begin, end } of callsOf(lines, what)) {
      const name = begin.name ?? '';
      if (end?.what === 'committed') sold.add(name);
      ends.set(name, Math.min(begin.at, ends.get(name) ?? Infinity));
    }
  }
  const steps = callsOf(lines, 'reserves').flatMap(({ begin, end }) => {
    if (end?.what !== 'reserved') return [];
    const [name, amount] = [end.name ?? '', begin.amount ?? 0];
    const until = Math.min(begin.at + ttlMs, ends.get(name) ?? Infinity);
    const taken = { at: end.at, by: amount };
    return sold.has(name) ? [taken] : [taken, { at: Math.max(end.at, until), by: -amount }];
  });
  steps.sort((a, b) => a.at - b.at || a.by - b.by);
  let promised = 0;
  return steps.flatMap(({ at, by }) => {
    promised += by;
    return by > 0 && promised > stock ? [`${promised} of ${stock} were promised at ${ms(at)}`] : [];
  });
}

/** What failed in processes that nobody paused, but with the errors that are to be expected, by their names. */
export function failures(
  lines: readonly Line[],
  pauses: readonly Hit[],
  expected: readonly string[] = [],
): string[] {
  const paused = new Set(pauses.map(({ who }) => who));
  const isExpected = (error: string): boolean =>
    expected.some((name) => error.startsWith(`${name}:`));
  return lines.flatMap(({ at, who, what, error = '' }) =>
    (what === 'failed' || what === 'unknown') && !paused.has(who) && !isExpected(error)
      ? [`${who} failed at ${ms(at)}: ${error}`]
      : [],
  );
}
