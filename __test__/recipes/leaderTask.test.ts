import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { HighAvailabilityCoordinator, LeaderElection, LeaderTask } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { fired } from './settle';

/** What is told one by one, and can be waited for. */
class Told {
  readonly all: string[] = [];
  #waiting: (() => void)[] = [];

  tell(what: string): void {
    this.all.push(what);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(what: string): Promise<void> {
    while (!this.all.includes(what)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

describe.each([memory, servedFile])('what a leader does, on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let told: Told;

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    told = new Told();
  });
  afterEach(async () => {
    expect(await client.count({ prefix: '' })).toBe(0);
    await store.close();
  });

  test('a task runs only while its node leads, again and again, and gets a signal', async () => {
    await using leader = new LeaderElection(client, 'x', 'a');
    await using other = new LeaderElection(client, 'x', 'b');
    await leader.start();
    await other.start();
    let runs = 0;
    await using task = new LeaderTask(
      leader,
      () => {
        told.tell(`a ${(runs += 1)}`);
      },
      0,
    );
    await using idle = new LeaderTask(
      other,
      () => {
        told.tell('b');
      },
      0,
    );
    task.start();
    task.start();
    idle.start();
    await told.until('a 3');
    expect(told.all).not.toContain('b');
    await leader.stop();
    const last = runs;
    await told.until('b');
    expect(runs).toBe(last);
  });

  test('runs never overlap, also when the node leads again before a run has ended (an interval timer lets them)', async () => {
    await using election = new LeaderElection(client, 'x', 'a');
    let running = 0;
    let most = 0;
    let finish: () => void = () => undefined;
    let terms = 0;
    await using task = new LeaderTask(
      election,
      async (signal) => {
        running += 1;
        most = Math.max(most, running);
        terms += 1;
        told.tell(`term ${terms}`);
        // The first run does not stop when it is told to.
        if (terms === 1) await new Promise<void>((resolve) => (finish = resolve));
        else await fired(signal);
        running -= 1;
      },
      0,
    );
    task.start();
    await election.campaign();
    await told.until('term 1');
    await election.resign();
    await election.campaign();
    expect(terms).toBe(1);
    finish();
    await told.until('term 2');
    expect(most).toBe(1);
    await election.resign();
  });

  test('a run that fails is told of, and the next takes place', async () => {
    await using election = new LeaderElection(client, 'x', 'a');
    const failure = new Error('mine');
    const errors: unknown[] = [];
    let runs = 0;
    await using task = new LeaderTask(
      election,
      () => {
        runs += 1;
        told.tell(`run ${runs}`);
        if (runs === 1) throw failure;
      },
      0,
      { onError: (error) => errors.push(error) },
    );
    task.start();
    await election.campaign();
    await told.until('run 2');
    expect(errors).toEqual([failure]);
  });

  test('stop() fires the signal of a run, and waits for its end', async () => {
    await using election = new LeaderElection(client, 'x', 'a');
    const task = new LeaderTask(
      election,
      async (signal) => {
        told.tell('began');
        await fired(signal);
        told.tell('ended');
      },
      60_000,
    );
    task.start();
    await election.campaign();
    await told.until('began');
    await task.stop();
    expect(told.all).toEqual(['began', 'ended']);
    await task.stop();
  });

  test('a coordinator switches at once, without waiting for the other role, and each role has a signal', async () => {
    const roles = (who: string): ((role: string) => (signal: AbortSignal) => Promise<void>) => {
      return (role) => async (signal) => {
        told.tell(`${who} ${role}`);
        await fired(signal);
        told.tell(`${who} ${role} over`);
      };
    };
    const [a, b] = [roles('a'), roles('b')];
    await using one = new HighAvailabilityCoordinator(
      new LeaderElection(client, 'x', 'a'),
      a('primary'),
      a('secondary'),
    );
    await using two = new HighAvailabilityCoordinator(
      new LeaderElection(client, 'x', 'b'),
      b('primary'),
      b('secondary'),
    );
    await one.start();
    await two.start();
    await told.until('a primary');
    await told.until('b secondary');
    expect(told.all).not.toContain('b primary');
    await one.stop();
    expect(told.all).toContain('a primary over');
    await told.until('b primary');
    await told.until('b secondary over');
  });

  test('a primary that returns or throws gives leadership up (naively, nobody serves while it leads)', async () => {
    const errors: unknown[] = [];
    const failure = new Error('mine');
    const wait = (signal: AbortSignal): Promise<unknown> => fired(signal);
    const election = new LeaderElection(client, 'x', 'a');
    await using bad = new HighAvailabilityCoordinator(
      election,
      () => {
        told.tell('bad primary');
        throw failure;
      },
      wait,
      { onError: (error, role) => errors.push([error, role]) },
    );
    await bad.start();
    await told.until('bad primary');
    await using good = new HighAvailabilityCoordinator(
      new LeaderElection(client, 'x', 'b'),
      async (signal) => {
        told.tell('good primary');
        await wait(signal);
      },
      wait,
    );
    await good.start();
    await told.until('good primary');
    expect(election.isLeader()).toBe(false);
    expect(errors[0]).toEqual([failure, 'primary']);
  });

  test('what cannot be is refused', async () => {
    await using election = new LeaderElection(client, 'x', 'a');
    for (const interval of [-1, 0.5, NaN, Infinity, '1', 2 ** 31]) {
      expect(() => new LeaderTask(election, () => undefined, interval as number)).toThrow(
        InvalidArgumentError,
      );
    }
    expect(() => new LeaderTask(election, 7 as never, 1)).toThrow(InvalidArgumentError);
    const wait = (): void => undefined;
    expect(() => new HighAvailabilityCoordinator(election, wait, 1 as never)).toThrow(
      InvalidArgumentError,
    );
    for (const options of [{ onError: 7 }, { onErorr: wait }, null]) {
      const given = options as object;
      expect(() => new LeaderTask(election, wait, 1, given)).toThrow(InvalidArgumentError);
      expect(() => new HighAvailabilityCoordinator(election, wait, wait, given)).toThrow(
        InvalidArgumentError,
      );
    }
    const coordinator = new HighAvailabilityCoordinator(election, wait, wait);
    await coordinator.start();
    await expect(coordinator.start()).rejects.toBeInstanceOf(InvalidArgumentError);
    await coordinator.stop();
  });
});
