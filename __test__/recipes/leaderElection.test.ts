import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  DeadlineExceededError,
  InvalidArgumentError,
  LeaseLostError,
  UnavailableError,
  op,
} from '@norikv/client';
import type { CallOptions, Lease, LeaseOptions, NoriKVClient } from '@norikv/client';
import { LeaderElection } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import { fired, keysBecome } from './settle';

describe.each([memory, servedFile])('LeaderElection on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let elections: LeaderElection[];
  const electionOf = (nodeId: string, of: NoriKVClient = client): LeaderElection => {
    const election = new LeaderElection(of, 'x', nodeId, 10_000);
    elections.push(election);
    return election;
  };

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    elections = [];
  });
  afterEach(async () => {
    for (const election of elections) await election.stop();
    expect(await client.count({ prefix: '' })).toBe(0);
    await store.close();
  });

  test('one that stands between the look and the write of another leads, and the other does not (naively, both do)', async () => {
    const gate = gated(await store.another());
    const [slow, fast] = [electionOf('slow', gate.client), electionOf('fast')];
    gate.beforeNext('commit', () => fast.campaign());
    const campaign = slow.campaign();
    await keysBecome(client, 'election/x/', 2);
    expect([slow.isLeader(), fast.isLeader()]).toEqual([false, true]);
    expect(await slow.getLeader()).toBe('fast');
    await fast.resign();
    await campaign;
    expect([slow.isLeader(), fast.isLeader()]).toEqual([true, false]);
  });

  test('candidates lead in the order in which they stood', async () => {
    const nodes = ['a', 'b', 'c'].map((id) => electionOf(id));
    const order: string[] = [];
    for (const [at, node] of nodes.entries()) {
      await node.start(() => order.push(`node ${at}`));
      expect(await client.count({ prefix: 'election/x/' })).toBe(at + 1);
    }
    for (const [at, node] of nodes.entries()) {
      const next = nodes[at + 1];
      const elected = next && new Promise<void>((resolve) => next.onElected(resolve));
      await node.stop();
      await elected;
    }
    expect(order).toEqual(['node 0', 'node 1', 'node 2']);
  });

  test('a node id that is used twice is two candidates (naively, the second believes to be the leader)', async () => {
    const [one, two] = [electionOf('node'), electionOf('node')];
    await one.start();
    await two.start();
    expect([one.getIsLeader(), two.getIsLeader()]).toEqual([true, false]);
    await two.stop();
    expect(one.isLeader()).toBe(true);
    expect(await one.getLeader()).toBe('node');
  });

  test('start() leads before it resolves if nobody does, and tells of both ends; state is true to what is told', async () => {
    const told: string[] = [];
    const election = electionOf('a');
    await election.start(
      () => told.push(`became ${election.isLeader()}`),
      () => told.push(`lost ${election.isLeader()}`),
    );
    expect(told).toEqual(['became true']);
    await election.stop();
    expect(told).toEqual(['became true', 'lost false']);
    await election.stop();
    expect(told).toHaveLength(2);
    // And again, with the same object.
    await election.start(() => told.push('again'));
    expect(told.at(-1)).toBe('again');
  });

  test('a leader whose key is deleted loses, is told, and stands again behind the others', async () => {
    const [one, two] = [electionOf('one'), electionOf('two')];
    const states: boolean[] = [];
    await one.start(undefined, () => states.push(one.isLeader()));
    const signal = one.signal!;
    const leads = new Promise<void>((resolve) => two.onElected(resolve));
    await two.start();
    const [first] = (await client.scan({ prefix: 'election/x/' }).toArray()).sort((a, b) =>
      a.createVersion.compare(b.createVersion),
    );
    await client.delete(first!.key);
    expect(await fired(signal)).toBeInstanceOf(LeaseLostError);
    expect(states).toEqual([false]);
    await leads;
    await keysBecome(client, 'election/x/', 2);
    expect([one.isLeader(), two.isLeader()]).toEqual([false, true]);
  });

  test('stop() resigns only its own: the leadership of another that came after is left alone (naively, it deletes the key)', async () => {
    const [old, next] = [electionOf('old'), electionOf('next')];
    await old.campaign();
    const signal = old.signal!;
    await client.deleteRange({ prefix: 'election/' });
    await fired(signal);
    await next.campaign();
    await old.resign();
    await old.stop();
    expect(next.isLeader()).toBe(true);
    expect(await client.count({ prefix: 'election/x/' })).toBe(1);
  });

  test('stop() ends a candidacy that waits', async () => {
    const [leader, waiting] = [electionOf('leader'), electionOf('waiting')];
    await leader.campaign();
    await waiting.start();
    expect(await client.count({ prefix: 'election/x/' })).toBe(2);
    await waiting.stop();
    expect(await client.count({ prefix: 'election/x/' })).toBe(1);
    const campaign = waiting.campaign();
    await keysBecome(client, 'election/x/', 2);
    await Promise.all([expect(campaign).rejects.toBeInstanceOf(LeaseLostError), waiting.stop()]);
    expect(await client.count({ prefix: 'election/x/' })).toBe(1);
  });

  test('stop() in the moment in which the turn comes ends it, and the node does not lead (a loop that looks before it waits leads on)', async () => {
    const gate = gated(client);
    const [leader, waiting] = [electionOf('leader'), electionOf('waiting', gate.client)];
    await leader.campaign();
    await waiting.start();
    let stopped: Promise<void> | undefined;
    const looked = new Promise<void>((resolve) => {
      gate.afterNext('commit', () => {
        stopped = waiting.stop();
        resolve();
      });
    });
    await leader.resign();
    await looked;
    await stopped;
    expect(waiting.isLeader()).toBe(false);
    expect(await client.count({ prefix: 'election/x/' })).toBe(0);
  });

  test('a campaign that is given up leaves no candidate', async () => {
    const [leader, waiting] = [electionOf('leader'), electionOf('waiting')];
    await leader.campaign();
    const late = waiting.campaign({ timeoutMs: 50 });
    await expect(late).rejects.toBeInstanceOf(DeadlineExceededError);
    const abort = new AbortController();
    const campaign = waiting.campaign({ signal: abort.signal });
    await keysBecome(client, 'election/x/', 2);
    abort.abort();
    await expect(campaign).rejects.toBeInstanceOf(CancelledError);
    expect(await client.count({ prefix: 'election/x/' })).toBe(1);
    const starting = waiting.start(undefined, undefined, { signal: AbortSignal.abort() });
    await expect(starting).rejects.toBeInstanceOf(CancelledError);
  });

  test('observe() tells who leads from the first moment on, also that nobody does, and ends with its signal', async () => {
    const [one, two] = [electionOf('one'), electionOf('two', await store.another())];
    const abort = new AbortController();
    const leaders = electionOf('observer').observe({ signal: abort.signal });
    expect((await leaders.next()).value).toBeNull();
    await one.campaign();
    expect((await leaders.next()).value).toBe('one');
    await two.start();
    await one.proclaim('one at 10.0.0.1');
    expect((await leaders.next()).value).toBe('one at 10.0.0.1');
    await one.resign();
    expect((await leaders.next()).value).toBe('two');
    await two.stop();
    expect((await leaders.next()).value).toBeNull();
    const last = leaders.next();
    abort.abort();
    await expect(last).rejects.toBeInstanceOf(CancelledError);
  });

  test('proclaim() keeps the term, and is refused to who does not lead', async () => {
    const election = electionOf('a');
    await expect(election.proclaim('x')).rejects.toBeInstanceOf(InvalidArgumentError);
    const token = await election.campaign();
    await election.proclaim('hello');
    expect(await election.getLeader()).toBe('hello');
    expect(election.token!.equals(token)).toBe(true);
    const { succeeded } = await client.txn().if(election.guard()).then(op.get('x')).commit();
    expect(succeeded).toBe(true);
    await election.resign();
    await expect(election.proclaim('x')).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  test('guard() keeps out the writes of a leader that is one no more', async () => {
    const [old, next] = [electionOf('old'), electionOf('next')];
    const first = await old.campaign();
    const guard = old.guard();
    await old.resign();
    const second = await next.campaign();
    expect(second.compare(first)).toBeGreaterThan(0);
    const late = await client.txn().if(guard).then(op.put('x', '1')).commit();
    expect(late.succeeded).toBe(false);
  });

  test('onElected and onDefeat are called until they are taken back', async () => {
    const election = electionOf('a');
    const told: string[] = [];
    const stopElected = election.onElected(() => told.push('elected'));
    election.onDefeat(() => told.push('defeated'));
    await election.campaign();
    await election.resign();
    stopElected();
    await election.campaign();
    await election.resign();
    expect(told).toEqual(['elected', 'defeated', 'defeated']);
  });

  test('an object is one candidate: standing twice is refused', async () => {
    const election = electionOf('a');
    await election.campaign();
    await expect(election.campaign()).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(election.start()).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(election.isLeader()).toBe(true);
    expect(await client.count({ prefix: 'election/x/' })).toBe(1);
  });

  test('a waiting candidate asks nobody', async () => {
    const gate = gated(client);
    const [leader, waiting] = [electionOf('leader'), electionOf('waiting', gate.client)];
    await leader.campaign();
    await waiting.start();
    const before = gate.total();
    for (const round of ['1', '2', '3']) await client.put('other', round);
    await client.delete('other');
    expect(gate.total() - before).toBeLessThanOrEqual(1); // the watch on who is ahead
  });

  test('start() resolves though the place is lost before its turn and another leads, and the candidate stands again', async () => {
    const leases: Lease[] = [];
    const grant = client.lease.bind(client);
    const lease = async (options: LeaseOptions): Promise<Lease> => {
      const granted = await grant(options);
      leases.push(granted);
      return granted;
    };
    const gate = gated(Object.assign(client, { lease }));
    const [late, other] = [electionOf('late', gate.client), electionOf('other')];
    gate.afterNext('commit', async () => {
      await leases[0]!.revoke();
      await other.campaign();
    });
    await late.start();
    await keysBecome(client, 'election/x/', 2);
    expect([late.isLeader(), other.isLeader()]).toEqual([false, true]);
  });

  test('stop() twice at once is done when it is done, and may be followed by a start (the second one returns at once)', async () => {
    const election = electionOf('a');
    for (let round = 0; round < 3; round++) {
      await election.start();
      const first = election.stop();
      await election.stop();
      expect(await client.count({ prefix: 'election/x/' })).toBe(0);
      await election.start();
      await first;
      expect(election.isLeader()).toBe(true);
      await election.stop();
    }
  });

  test('who resigns when told that it leads keeps the next callback from being told so', async () => {
    const election = electionOf('a');
    const told: string[] = [];
    let resigned: Promise<void> | undefined;
    election.onElected(() => {
      told.push('elected');
      resigned = election.resign();
    });
    election.onElected(() => told.push('elected, too late'));
    election.onDefeat(() => told.push('defeated'));
    await election.campaign();
    await resigned;
    expect(told).toEqual(['elected', 'defeated']);
  });

  test('a proclamation whose reply was lost is made', async () => {
    const gate = gated(client);
    const election = electionOf('a', gate.client);
    await election.campaign();
    const lost = new UnavailableError('the reply was lost', { outcome: 'unknown' });
    gate.afterNext('commit', () => Promise.reject(lost));
    await election.proclaim('hello');
    expect(await election.getLeader()).toBe('hello');
  });

  test('what cannot be is refused, and nothing is written', async () => {
    for (const name of ['', 7, null, undefined, '\ud800', 'x'.repeat(257)]) {
      expect(() => new LeaderElection(client, name as string, 'a')).toThrow(InvalidArgumentError);
      expect(() => new LeaderElection(client, 'x', name as string)).toThrow(InvalidArgumentError);
    }
    for (const ttlMs of [0, -1, 0.5, NaN, '10']) {
      expect(() => new LeaderElection(client, 'x', 'a', ttlMs as number)).toThrow(
        InvalidArgumentError,
      );
    }
    const election = electionOf('a');
    await expect(election.start('x' as never)).rejects.toBeInstanceOf(InvalidArgumentError);
    for (const options of [{ signal: {} }, { timeoutMs: NaN }, 7]) {
      const starting = election.start(undefined, undefined, options as CallOptions);
      await expect(starting).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    expect(() => election.onElected(7 as never)).toThrow(InvalidArgumentError);
    await election.campaign();
    await expect(election.proclaim(7 as never)).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(election.proclaim('\ud800')).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await client.count({ prefix: '' })).toBe(1);
    for (const name of ['a/b', 'constructor', '__proto__', 'ö']) {
      const other = new LeaderElection(client, name, 'b');
      await other.campaign();
      expect(await other.getLeader()).toBe('b');
      await other.stop();
    }
  });
});
