// What `@jest/globals` is in a page: the few words of it that the suites use, over the matchers of `@vitest/expect`.
// Unlike Jest's own they run in a browser. `plan` names every test before `run` runs them, so that none gets lost.
import { JestAsymmetricMatchers, JestChaiExpect, chai } from '@vitest/expect';

chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);
export const { expect } = chai;

type Body = (...args: never[]) => unknown;
type Hook = () => unknown;

/** What became of a test. */
export interface Result {
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  readonly ms: number;
  /** The error, or why it was skipped. */
  readonly detail?: string;
}

type HookName = 'beforeAll' | 'beforeEach' | 'afterEach' | 'afterAll';

interface Test {
  readonly name: string;
  readonly body: Hook;
  readonly limitMs: number;
  readonly skipped: string | undefined;
}

/** A `describe`, and the file as a whole. */
class Block {
  readonly parts: (Block | Test)[] = [];
  readonly hooks: Record<HookName, Hook[]> = {
    beforeAll: [],
    beforeEach: [],
    afterEach: [],
    afterAll: [],
  };
  constructor(
    readonly name: string,
    readonly skipped: string | undefined,
    readonly parent: Block | undefined,
  ) {}
}

/** Like that of the suites in Node (`jest.config.mjs`). */
const LIMIT_MS = 30_000;

const file = new Block('', undefined, undefined);
let current = file;

/** A row of a table may say why what it stands for cannot be had here. */
function missing(row: unknown): string | undefined {
  if (typeof row !== 'object' || row === null) return undefined;
  if ('missing' in row && typeof row.missing === 'string') return row.missing;
  return 'kind' in row ? missing(row.kind) : undefined;
}

function add(name: string, body: Hook, limitMs = LIMIT_MS, skipped?: string): void {
  current.parts.push({ name, body, limitMs, skipped: skipped ?? current.skipped });
}

function group(name: string, body: Hook, skipped?: string): void {
  const block = new Block(name, skipped ?? current.skipped, current);
  current.parts.push(block);
  current = block;
  try {
    body();
  } finally {
    current = block.parent ?? file;
  }
}

function shown(value: unknown): string {
  return typeof value === 'bigint' ? `${value}n` : String(value);
}

/** A name with the fields of its row (`$kind.name`), or its columns in their order (`%s`, `%j`). */
function named(name: string, row: unknown): string {
  const columns = Array.isArray(row) ? [...(row as unknown[])] : [row];
  return name
    .replace(/\$([\w.]+)/g, (_, path: string) => {
      let value: unknown = row;
      for (const key of path.split('.')) value = (value as Record<string, unknown>)[key];
      return shown(value);
    })
    .replace(/%([sj])/g, (_, how: string) => {
      const value = columns.shift();
      return how === 'j' ? JSON.stringify(value) : shown(value);
    });
}

function table(declare: typeof add | typeof group) {
  return (rows: readonly unknown[]) => (name: string, body: Body, limitMs?: number) => {
    for (const row of rows) {
      const args = (Array.isArray(row) ? row : [row]) as never[];
      const call = (): unknown => body(...args);
      if (declare === group) group(named(name, row), call, missing(row));
      else add(named(name, row), call, limitMs, missing(row));
    }
  };
}

const skip = (name: string, body: Hook): void => {
  add(name, body, LIMIT_MS, 'the suite skips it');
};

export const describe = Object.assign(
  (name: string, body: Hook) => {
    group(name, body);
  },
  { each: table(group) },
);
export const test = Object.assign(
  (name: string, body: Hook, limitMs?: number) => {
    add(name, body, limitMs);
  },
  { each: table(add), skip },
);

function hook(name: HookName) {
  return (body: Hook): void => {
    current.hooks[name].push(body);
  };
}
export const beforeAll = hook('beforeAll');
export const beforeEach = hook('beforeEach');
export const afterEach = hook('afterEach');
export const afterAll = hook('afterAll');

async function limited(body: Hook, limitMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`it took more than ${limitMs} ms`));
    }, limitMs);
  });
  try {
    await Promise.race([body(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { stack = '' } = error;
  return stack.includes(error.message) ? stack : `${error.name}: ${error.message}\n${stack}`;
}

/** Every test of a block, with its full name. */
function* tests(block: Block, prefix = ''): Generator<[string, Test]> {
  for (const part of block.parts) {
    const name = prefix === '' ? part.name : `${prefix} › ${part.name}`;
    if (part instanceof Block) yield* tests(part, name);
    else yield [name, part];
  }
}

/** The names of all tests that were declared. */
export function plan(): string[] {
  return [...tests(file)].map(([name]) => name);
}

/** Runs all tests, one after the other, and reports each. Answers what went wrong outside of them. */
export async function run(
  begin: (name: string) => void,
  end: (result: Result) => void,
): Promise<string[]> {
  const stray: string[] = [];
  await runBlock(file, '', begin, end, stray);
  return stray;
}

async function hooks(block: Block, name: HookName): Promise<void> {
  for (const body of block.hooks[name]) await limited(body, LIMIT_MS);
}

/** The blocks from the file down to this one. */
function lineage(block: Block): Block[] {
  return block.parent === undefined ? [block] : [...lineage(block.parent), block];
}

async function runTest(block: Block, test: Test): Promise<void> {
  try {
    for (const each of lineage(block)) await hooks(each, 'beforeEach');
    await limited(test.body, test.limitMs);
  } finally {
    for (const each of lineage(block).reverse()) await hooks(each, 'afterEach');
  }
}

async function runBlock(
  block: Block,
  prefix: string,
  begin: (name: string) => void,
  end: (result: Result) => void,
  stray: string[],
): Promise<void> {
  const idle = [...tests(block)].every(([, { skipped }]) => skipped !== undefined);
  let broken: string | undefined;
  if (!idle) await hooks(block, 'beforeAll').catch((error: unknown) => (broken = told(error)));
  for (const part of block.parts) {
    const name = prefix === '' ? part.name : `${prefix} › ${part.name}`;
    if (part instanceof Block) {
      if (broken === undefined) {
        await runBlock(part, name, begin, end, stray);
        continue;
      }
      for (const [each] of tests(part, name)) {
        end({ name: each, status: 'failed', ms: 0, detail: broken });
      }
    } else if (part.skipped !== undefined) {
      end({ name, status: 'skipped', ms: 0, detail: part.skipped });
    } else if (broken !== undefined) {
      end({ name, status: 'failed', ms: 0, detail: broken });
    } else {
      begin(name);
      const start = performance.now();
      const detail = await runTest(block, part).then(() => undefined, told);
      const ms = performance.now() - start;
      end(
        detail === undefined
          ? { name, status: 'passed', ms }
          : { name, status: 'failed', ms, detail },
      );
    }
  }
  if (!idle) {
    await hooks(block, 'afterAll').catch((error: unknown) => {
      stray.push(`after ${prefix === '' ? 'the file' : prefix}: ${told(error)}`);
    });
  }
}
