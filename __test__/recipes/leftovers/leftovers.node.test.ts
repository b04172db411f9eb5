// Only Node has processes of their own: what each recipe leaves behind is counted in one, which must end by itself.
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { onEtcd } from '../../api/stores';
import { freshPrefix, sharedEtcd } from '../../etcd/stores';
import { endOf, serve, start } from '../../faults/children';
import type { Served } from '../../faults/children';

/** What is open, of the store and in the process. */
interface Left {
  readonly keys: number;
  readonly leases: number;
  readonly watches: number;
  readonly timers: number;
  readonly alive: number;
  readonly descriptors?: number;
  readonly threads?: number;
}

/** What is done with each recipe, and how many keys of data it may keep. */
type Uses = Readonly<Record<string, { readonly keys?: number }>>;

const load = createRequire(__filename);
const uses = load('./uses.cjs') as Uses;
const rounds = load('./rounds.cjs') as Readonly<Record<string, unknown>>;
const names = Object.keys(uses).filter((name) => name !== 'careless');
const program = path.join(__dirname, 'program.cjs');

/** How soon a process ends after its client was closed, at the latest, in milliseconds. */
const END_MS = 1000;

let server: Served;
beforeAll(async () => {
  const store = onEtcd ? (await sharedEtcd()).address(freshPrefix()) : 'memory:';
  server = await serve(store);
});
afterAll(async () => {
  server.kill('SIGTERM');
  await server.ended;
});

/** Runs `program.cjs`; answers what it printed, and how long it lived after it closed its client. */
async function run(
  what: string,
  name: string,
): Promise<{ left: Left[]; lateMs: number; code: number | null; complaint: string }> {
  const child = start(process.execPath, [program, server.address, what, name]);
  let [output, complaint] = ['', ''];
  let killed = setTimeout(() => child.kill('SIGKILL'), 50_000);
  child.stdout?.on('data', (text: Buffer) => {
    output += text.toString();
    // It has closed its client, and is to end.
    if (output.split('\n').length < 3) return;
    clearTimeout(killed);
    killed = setTimeout(() => child.kill('SIGKILL'), 2 * END_MS);
  });
  child.stderr?.on('data', (text: Buffer) => (complaint += text.toString()));
  const { code } = await endOf(child);
  const ended = Number(process.hrtime.bigint()) / 1e6;
  clearTimeout(killed);
  const [left = '[]', closed] = output.trim().split('\n');
  return { left: JSON.parse(left) as Left[], lateMs: ended - Number(closed), code, complaint };
}

describe.each(['use', 'abort'])('after %s', (what) => {
  test.each(names)(
    '%s has no key, lease, watch or timer left, and its process ends',
    async (name) => {
      const { left, lateMs, ...how } = await run(what, name);
      expect(how).toEqual({ code: 0, complaint: '' });
      const [before, after] = left;
      expect({ ...after, keys: 0 }).toEqual({ ...before, keys: 0 });
      expect(after?.keys).toBeLessThanOrEqual(uses[name]?.keys ?? 0);
      expect(lateMs).toBeLessThan(END_MS);
    },
    60_000,
  );
});

test.each(Object.keys(rounds))(
  '%s, 200 times, holds no more than after 20 times, and nothing in the end',
  async (name) => {
    const { left, lateMs, ...how } = await run('rounds', name);
    expect(how).toEqual({ code: 0, complaint: '' });
    const [first, last, end] = left;
    expect(last?.descriptors).toBeLessThanOrEqual(first?.descriptors ?? 0);
    expect(last?.threads).toBeLessThanOrEqual(first?.threads ?? 0);
    for (const what of ['keys', 'leases', 'watches', 'timers', 'alive'] as const) {
      expect({ [what]: last?.[what] }).toEqual({ [what]: first?.[what] });
    }
    expect(end).toMatchObject({ keys: last?.keys, leases: 0, watches: 0, alive: 0 });
    expect(lateMs).toBeLessThan(END_MS);
  },
  60_000,
);

test('what is left behind is seen, and a process that does not end', async () => {
  const { left, lateMs } = await run('use', 'careless');
  expect(left[1]).toMatchObject({ keys: 1, leases: 1, watches: 1, timers: 2, alive: 1 });
  expect(lateMs).toBeGreaterThan(END_MS);
});
