// A client whose calls can be held up: what a test wants to happen between the read and the write of somebody else happens
// exactly there.
import type { NoriKVClient } from '@norikv/client';

/** A call of the client, or the commit of a transaction. */
type Call = Exclude<keyof NoriKVClient, symbol> | 'commit';

/** What is to happen before a call is made. */
type Hook = () => Promise<unknown>;

/** A client, and what is to happen before its calls. */
export interface Gated {
  readonly client: NoriKVClient;
  /** Calls `hook` before the next call of that name is sent, and waits for it. Once. */
  beforeNext(call: Call, hook: Hook): void;
  /** Calls `hook` once the next call of that name was answered, and waits for it before the caller hears. Once. */
  afterNext(call: Call, hook: Hook | (() => void)): void;
  /** How many calls of that name were made. */
  count(call: Call): number;
  /** How many calls that go to the store were made: each is one round trip at least. */
  total(): number;
}

/** What goes to the store. A scan is counted once, though it may have pages. */
const sent: ReadonlySet<string> = new Set<Call>([
  'get',
  'getOrNull',
  'getMany',
  'put',
  'delete',
  'deleteRange',
  'scan',
  'count',
  'update',
  'lease',
  'watch',
  'commit',
  'vectorCreateIndex',
  'vectorInsert',
  'vectorInsertMany',
  'vectorDelete',
  'vectorGet',
  'vectorSearch',
  'vectorSearchMany',
]);

/** The real client, with a gate before each of its calls. */
export function gated(inner: NoriKVClient): Gated {
  const hooks = new Map<string, Hook[]>();
  const afterHooks = new Map<string, (Hook | (() => void))[]>();
  const counts = new Map<string, number>();

  /** Counts the call; answers what is to happen first, if anything is. */
  const pass = (call: string): Promise<unknown> | undefined => {
    counts.set(call, (counts.get(call) ?? 0) + 1);
    return hooks.get(call)?.shift()?.();
  };

  const later = async (answer: unknown, hook: Hook | (() => void)): Promise<unknown> => {
    const settled = await Promise.allSettled([answer]);
    await hook();
    const [outcome] = settled;
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  };

  const wrap = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(of, name): unknown {
        const value: unknown = Reflect.get(of, name, of);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          const first = typeof name === 'string' ? pass(name) : undefined;
          const after = typeof name === 'string' ? afterHooks.get(name)?.shift() : undefined;
          const call = (): unknown => {
            const answer = Reflect.apply(value, of, args) as unknown;
            return after === undefined ? answer : later(answer, after);
          };
          if (first !== undefined) return first.then(call);
          const answer = call();
          // A transaction that is being put together.
          const builder = name === 'txn' || name === 'if' || name === 'then' || name === 'else';
          return builder ? wrap(answer as object) : answer;
        };
      },
    });

  return {
    client: wrap(inner),
    beforeNext: (call, hook) => hooks.set(call, [...(hooks.get(call) ?? []), hook]),
    afterNext: (call, hook) => afterHooks.set(call, [...(afterHooks.get(call) ?? []), hook]),
    count: (call) => counts.get(call) ?? 0,
    total: () => [...counts].reduce((sum, [call, times]) => sum + (sent.has(call) ? times : 0), 0),
  };
}
