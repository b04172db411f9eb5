import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ClosedError, InvalidArgumentError, NotFoundError } from '@norikv/client';
import { LoadBalancer, ServiceRegistry, Strategy } from '@norikv/client/recipes';
import type { LoadBalancerOptions, Selected, Service } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import type { Gated } from './gate';

describe.each([memory, servedFile])('LoadBalancer on $name', (kind) => {
  let store: TestStore;
  let gate: Gated;
  let registry: ServiceRegistry;
  let balancers: LoadBalancer[];

  beforeEach(async () => {
    store = await kind.open();
    gate = gated(store.client);
    registry = new ServiceRegistry(gate.client, 'shop', 60_000);
    balancers = [];
  });
  afterEach(async () => {
    for (const balancer of balancers) await balancer.close();
    await registry.close();
    expect(await store.client.count({ prefix: '' })).toBe(0);
    await store.close();
  });

  async function register(...ids: string[]): Promise<void> {
    for (const id of ids) {
      const [name = '', weight] = id.split('=');
      const metadata: Service['metadata'] = weight === undefined ? {} : { weight };
      await registry.register({ name: 'api', id: name, address: '10.0.0.7', port: 80, metadata });
    }
  }

  function balancerOf(strategy?: Strategy, options?: LoadBalancerOptions): LoadBalancer {
    const balancer = new LoadBalancer(registry, strategy, options);
    balancers.push(balancer);
    return balancer;
  }

  async function choose(balancer: LoadBalancer, times: number): Promise<string> {
    const ids: string[] = [];
    for (let call = 0; call < times; call++) {
      const { service, release } = await balancer.getService('api');
      ids.push(service.id);
      release();
    }
    return ids.join(' ');
  }

  /** Waits until a watch of the same client has told that these are there. The balancer's, which came first, has too, then. */
  async function told(ids: string): Promise<void> {
    const there = new Set<string>();
    for await (const { type, service } of registry.watch('api')) {
      if (type === 'removed') there.delete(service.id);
      else there.add(service.id);
      if ([...there].sort().join(' ') === ids) break;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Waits until the balancer's watch has told this many instances. */
  async function known(balancer: LoadBalancer, count: number): Promise<void> {
    for (;;) {
      const held: Selected[] = [];
      for (let call = 0; call < count + 3; call++) held.push(await balancer.getService('api'));
      for (const { release } of held) release();
      if (new Set(held.map(({ service }) => service.id)).size === count) return;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  test('after the first, choosing asks nobody (the naive balancer discovers for each call)', async () => {
    await register('a', 'b');
    const balancer = balancerOf();
    await balancer.getService('api');
    const before = gate.total();
    await choose(balancer, 1_000);
    expect(gate.total()).toBe(before);
  });

  test('round robin is the order of the ids, and the default', async () => {
    await register('c', 'a', 'b');
    expect(await choose(balancerOf(), 7)).toBe('a b c a b c a');
  });

  test('round robin neither skips nor repeats when members come and go (the naive counter modulo their number does)', async () => {
    await register('a', 'b', 'c', 'd');
    const balancer = balancerOf();
    expect(await choose(balancer, 2)).toBe('a b');
    // The one that was chosen last goes, and so does one before it: a counter of 2 would be at the end of "c d".
    await registry.deregister('api', 'b');
    await registry.deregister('api', 'a');
    await told('c d');
    const held = await balancer.getService('api');
    expect(held.service.id).toBe('c');
    await register('ca', 'e');
    await told('c ca d e');
    expect(await choose(balancer, 5)).toBe('ca d e c ca');
  });

  test('smooth weights: 5, 1, 1 are a a b a c a a (the naive one takes five times the first)', async () => {
    await register('a=5', 'b=1', 'c=1', 'd=0');
    expect(await choose(balancerOf(Strategy.Weighted), 14)).toBe('a a b a c a a a a b a c a a');
    const weight = ({ id }: Service): number => (id === 'd' ? 1 : 0);
    expect(await choose(balancerOf('weighted', { weight }), 3)).toBe('d d d');
    const nothing = balancerOf('weighted', { weight: () => 0 });
    await expect(nothing.getService('api')).rejects.toThrow(NotFoundError);
  });

  test('least connections takes one with the fewest calls under way, and evenly where they are equal (the naive one always takes the first)', async () => {
    await register('a', 'b', 'c');
    const balancer = balancerOf(Strategy.LeastConn);
    const first = await balancer.getService('api');
    const second = await balancer.getService('api');
    const third = await balancer.getService('api');
    expect([first, second, third].map(({ service }) => service.id)).toEqual(['a', 'b', 'c']);
    second.release();
    // A second release is none: it would make b look less busy than it is.
    const fourth = await balancer.getService('api');
    expect(fourth.service.id).toBe('b');
    second.release();
    expect((await balancer.getService('api')).service.id).toBe('a');
    for (const { release } of [first, third, fourth]) release();
    expect(await choose(balancer, 4)).toBe('c b c b');
  });

  test('random chooses each', async () => {
    await register('a', 'b', 'c');
    const balancer = balancerOf(Strategy.Random);
    await known(balancer, 3);
  });

  test('what is gone is chosen no more, and no instance at all is a NotFoundError', async () => {
    const balancer = balancerOf();
    await expect(balancer.getService('api')).rejects.toThrow(NotFoundError);
    await register('a');
    const gone = async (): Promise<boolean> => {
      // Choosing asks nobody: without a pause nothing would come in between.
      await new Promise((resolve) => setTimeout(resolve, 2));
      return await balancer.getService('api').then(
        () => false,
        (error: unknown) => error instanceof NotFoundError,
      );
    };
    while (await gone());
    await registry.deregister('api', 'a');
    while (!(await gone()));
  });

  test('concurrent first calls are one watch', async () => {
    await register('a');
    const balancer = balancerOf();
    await Promise.all(Array.from({ length: 20 }, () => balancer.getService('api')));
    expect(gate.count('watch')).toBe(1);
  });

  test('bad input is refused', async () => {
    const bad = 'fastest' as Strategy;
    expect(() => new LoadBalancer(registry, bad)).toThrow(InvalidArgumentError);
    expect(() => new LoadBalancer(registry, 'constructor' as Strategy)).toThrow(
      InvalidArgumentError,
    );
    const weight = 5 as unknown as (service: Service) => number;
    expect(() => new LoadBalancer(registry, 'weighted', { weight })).toThrow(InvalidArgumentError);
    const weights = { weights: [1, 2] } as object;
    expect(() => new LoadBalancer(registry, 'weighted', weights)).toThrow(InvalidArgumentError);
    for (const name of ['', 7, null, '\ud800']) {
      await expect(balancerOf().getService(name as string)).rejects.toThrow(InvalidArgumentError);
    }
  });

  test('once closed it says so; closing twice is closing once, and leaves the registry open', async () => {
    await register('a');
    const balancer = balancerOf();
    await balancer.getService('api');
    await balancer.close();
    await balancer.close();
    await expect(balancer.getService('api')).rejects.toThrow(ClosedError);
    expect(await registry.discover('api')).toHaveLength(1);
  });
});
