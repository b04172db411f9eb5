// Processes that work on one store and are killed and paused at random, as a seed says.
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
} from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { endOf, start, temporary } from '../../faults/children';
import type { Ended } from '../../faults/children';
import type { Hit, Line } from './trace';

/** How long a crew works, in seconds. */
export const SECONDS = process.env.NORIKV_LONG === '1' ? 60 : 15;
const PROCESSES = 8;
/** How many stand still at most, so that there is somebody to go on. */
const MOST_PAUSED = 3;
const READY_MS = 30_000;
const END_MS = 30_000;

/** What a crew does. */
export interface Plan {
  /** The address of the store. */
  readonly address: string;
  /** The file in `work/` that each process runs. */
  readonly work: string;
  /** What it is told. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly seconds: number;
  /** The shortest and the longest pause; longer than what a process holds lives without it. */
  readonly pauseMs: readonly [number, number];
  /** The shortest and the longest time from one hit to the next. */
  readonly everyMs: readonly [number, number];
  /** How long they go on unharmed in the end. Default 0. */
  readonly calmMs?: number;
  /** How many of the hits are at whoever holds something at the moment, from 0 to 1. Default 0. */
  readonly aimed?: number;
}

/** What a crew wrote down, and what was done to it. */
export interface Outcome {
  /** All lines, those of each process in its order. */
  readonly lines: readonly Line[];
  readonly kills: readonly Hit[];
  readonly pauses: readonly Hit[];
  /** The processes that ended by themselves when they were told to. */
  readonly finished: ReadonlySet<string>;
}

/** The machine's monotonic clock in milliseconds, the same in every process. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** The seed of this run: NORIKV_SEED, or another one each time. */
export const seed = Number(process.env.NORIKV_SEED ?? Date.now() % 1_000_000_000);

/** Numbers from 0 to 1, the same for the same seed (mulberry32, by Tommy Ettinger). */
function randomOf(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Member {
  readonly name: string;
  readonly ready: Promise<void>;
  readonly ended: Promise<Ended>;
  kill(signal: NodeJS.Signals): void;
  complaint(): string;
  paused: boolean;
}

class Crew {
  readonly #plan: Plan;
  readonly #directory = mkdtempSync(path.join(temporary(), 'traces-'));
  readonly #random = randomOf(seed);
  readonly #members = new Set<Member>();
  readonly #waking: Promise<void>[] = [];
  readonly #kills: Hit[] = [];
  readonly #pauses: Hit[] = [];
  #hired = 0;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  async run(): Promise<Outcome> {
    const { seconds, everyMs, calmMs = 0 } = this.#plan;
    const first = Array.from({ length: PROCESSES }, () => this.#hire());
    await Promise.all(first.map(({ ready }) => ready));
    const end = now() + seconds * 1000;
    while (now() < end) {
      await wait(this.#between(everyMs));
      this.#hit();
    }
    await Promise.all(this.#waking);
    await wait(calmMs);
    const finished = await this.#finish();
    const lines = [...this.#traces().values()].flat();
    return { lines, kills: this.#kills, pauses: this.#pauses, finished };
  }

  #between([least, most]: readonly [number, number]): number {
    return least + this.#random() * (most - least);
  }

  #hire(): Member {
    const name = `p${++this.#hired}`;
    const { work, address, settings } = this.#plan;
    const trace = path.join(this.#directory, name);
    const program = path.join(__dirname, 'work', work);
    const args = [program, address, trace, name, JSON.stringify(settings)];
    const child = start(process.execPath, args);
    const ended = endOf(child);
    let complaint = '';
    child.stderr?.on('data', (text: Buffer) => (complaint += text.toString()));
    const ready = new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout! }).once('line', () => {
        resolve();
      });
      const late = setTimeout(() => {
        reject(new Error(`${name} did not begin: ${complaint}`));
      }, READY_MS);
      void ended.then(() => {
        clearTimeout(late);
        reject(new Error(`${name} ended before it began: ${complaint}`));
      });
      late.unref();
    });
    // One that is killed before it began is not waited for.
    ready.catch(() => undefined);
    const kill = (signal: NodeJS.Signals): void => void child.kill(signal);
    const member = { name, ready, ended, kill, complaint: () => complaint, paused: false };
    this.#members.add(member);
    return member;
  }

  /** Kills or pauses somebody. */
  #hit(): void {
    const awake = [...this.#members].filter(({ paused }) => !paused);
    const { aimed = 0 } = this.#plan;
    const holder = this.#random() < aimed ? this.#holder(awake) : undefined;
    const chance = awake[Math.floor(this.#random() * awake.length)];
    const member = holder ?? chance;
    const deadly = this.#random() < 0.5;
    if (member === undefined) return;
    if (deadly) this.#kill(member);
    else if (PROCESSES - awake.length < MOST_PAUSED) this.#waking.push(this.#pause(member));
  }

  #kill(member: Member): void {
    this.#members.delete(member);
    this.#kills.push({ who: member.name, at: now() });
    member.kill('SIGKILL');
    this.#hire();
  }

  async #pause(member: Member): Promise<void> {
    const pauseMs = this.#between(this.#plan.pauseMs);
    const at = now();
    member.paused = true;
    member.kill('SIGSTOP');
    await wait(pauseMs);
    member.kill('SIGCONT');
    member.paused = false;
    this.#pauses.push({ who: member.name, at, until: now() });
  }

  /** Tells everybody to end, and waits for it. */
  async #finish(): Promise<Set<string>> {
    const members = [...this.#members];
    await Promise.all(members.map((member) => member.ready));
    for (const member of members) member.kill('SIGTERM');
    const late = new AbortController();
    const ends = Promise.all(
      members.map(async (member) => {
        const { code, signal } = await member.ended;
        if (code !== 0)
          throw new Error(
            `${member.name} ended with ${code ?? signal ?? ''}: ${member.complaint()}`,
          );
      }),
    ).finally(() => {
      late.abort();
    });
    const limit = wait(END_MS, 'late', { signal: late.signal }).catch(() => 'done');
    if ((await Promise.race([ends, limit])) === 'late') {
      throw new Error(`processes that were told to end did not, with seed ${seed}`);
    }
    return new Set(members.map(({ name }) => name));
  }

  /** Who said last that it holds something, and nothing after it. */
  #holder(members: readonly Member[]): Member | undefined {
    const said = members.flatMap((member) => {
      const { at, what } = lastLineOf(path.join(this.#directory, member.name));
      return what === 'holds' || what === 'still' ? [{ member, at }] : [];
    });
    return said.sort((a, b) => b.at - a.at)[0]?.member;
  }

  #traces(): Map<string, Line[]> {
    const traces = new Map<string, Line[]>();
    for (const who of readdirSync(this.#directory)) {
      const text = readFileSync(path.join(this.#directory, who), 'utf8');
      // What a kill cut off is no line.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      const parsed = whole.split('\n').filter((each) => each !== '');
      traces.set(
        who,
        parsed.map((each) => ({ who, ...(JSON.parse(each) as Omit<Line, 'who'>) })),
      );
    }
    return traces;
  }
}

/** More than the longest line. */
const TAIL_BYTES = 1024;

/** The last whole line of a trace; one that says nothing if there is none yet. */
function lastLineOf(file: string): Pick<Line, 'at' | 'what'> {
  if (!existsSync(file)) return { at: 0, what: '' };
  const trace = openSync(file, 'r');
  const from = Math.max(0, fstatSync(trace).size - TAIL_BYTES);
  const tail = Buffer.alloc(TAIL_BYTES);
  const length = readSync(trace, tail, 0, TAIL_BYTES, from);
  closeSync(trace);
  const line = tail.toString('utf8', 0, length).split('\n').at(-2) ?? '';
  return line.startsWith('{') ? (JSON.parse(line) as Line) : { at: 0, what: '' };
}

/** Has eight processes work, kills and pauses them, and answers what they wrote down. */
export async function runCrew(plan: Plan): Promise<Outcome> {
  process.stderr.write(`${plan.work}: NORIKV_SEED=${seed}\n`);
  return new Crew(plan).run();
}

/** What went wrong, with what repeats it. A long list is cut off. */
export function reportOf(wrong: readonly string[]): string {
  const more = wrong.length > 20 ? [`and ${wrong.length - 20} more`] : [];
  return wrong.length === 0
    ? ''
    : [`with NORIKV_SEED=${seed}:`, ...wrong.slice(0, 20), ...more].join('\n');
}
