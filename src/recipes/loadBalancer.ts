import { ClosedError, InvalidArgumentError, NotFoundError } from '@norikv/client';
import type { CallOptions } from '@norikv/client';
import type { Unsubscribe } from './callbacks.js';
import { Deadline } from './deadline.js';
import { checkName, describe } from './keys.js';
import { checkFields } from './options.js';
import { weightOf } from './service.js';
import type { Service } from './service.js';
import type { ServiceRegistry } from './serviceRegistry.js';
import type { ServiceEvent } from './serviceWatch.js';

/** How a {@link LoadBalancer} chooses among the instances of a service. */
export const Strategy = {
  /** One after the other, in the order of their ids. */
  RoundRobin: 'roundRobin',
  /** Any, each as likely as the others. */
  Random: 'random',
  /** One of those that have the fewest calls under way, as far as this balancer gave them out. */
  LeastConn: 'leastConn',
  /** Each as often as its weight is among all weights, evenly mixed. */
  Weighted: 'weighted',
} as const;

/** The words of {@link Strategy}. */
export type Strategy = (typeof Strategy)[keyof typeof Strategy];

/** Settings of a {@link LoadBalancer}. */
export interface LoadBalancerOptions {
  /**
   * The weight of an instance: a number from 0, where 0 is never chosen by `weighted`. It is asked once for each state of the
   * instance; what it throws is thrown where uncaught errors go, and the instance is left out. Default: the `weight` of its
   * metadata, or 1.
   */
  readonly weight?: ((service: Service) => number) | undefined;
}

/** An instance that was chosen. */
export interface Selected {
  readonly service: Service;
  /** Says that the call to it is done. Releasing twice is releasing once. */
  readonly release: () => void;
}

/** An instance, and what was done with it. */
interface Member {
  service: Service;
  weight: number;
  /** How many were given out and not released. */
  active: number;
  /** The running weight of smooth weighted round robin. */
  current: number;
  /** When it was last chosen, as a number that grows. */
  chosen: number;
}

/** The instances of one service, kept up to date by a watch. */
class Pool {
  readonly #weight: (service: Service) => number;
  /** In the order of their ids. */
  #members: readonly Member[] = [];
  /** The id that was chosen last: also once it is gone, its place in the order is known. */
  #last = '';
  #choices = 0;

  constructor(weight: (service: Service) => number) {
    this.#weight = weight;
  }

  hear({ type, service }: ServiceEvent): void {
    const there = this.#members.find((member) => member.service.id === service.id);
    if (type === 'removed') {
      this.#members = this.#members.filter((member) => member !== there);
      return;
    }
    const weight = this.#weight(service);
    if (typeof weight !== 'number' || !Number.isFinite(weight) || weight < 0) {
      const message = `the weight of ${describe(service.id)} is to be a number from 0; got ${describe(weight)}`;
      throw new InvalidArgumentError(message);
    }
    if (there !== undefined) {
      Object.assign(there, { service, weight });
      return;
    }
    const member = { service, weight, active: 0, current: 0, chosen: 0 };
    this.#members = [...this.#members, member].sort((a, b) =>
      a.service.id < b.service.id ? -1 : 1,
    );
  }

  choose(strategy: Strategy): Member | undefined {
    const member = this.#choose(strategy);
    if (member === undefined) return undefined;
    this.#choices += 1;
    member.chosen = this.#choices;
    this.#last = member.service.id;
    return member;
  }

  #choose(strategy: Strategy): Member | undefined {
    const members = this.#members;
    switch (strategy) {
      case 'random':
        return members[Math.floor(Math.random() * members.length)];
      case 'leastConn':
        // Of those with as few, the one that has waited longest.
        return least(
          members,
          (one, other) => one.active - other.active || one.chosen - other.chosen,
        );
      case 'weighted':
        return this.#weighted();
      case 'roundRobin':
        return members.find(({ service }) => service.id > this.#last) ?? members[0];
    }
  }

  /**
   * Smooth weighted round robin, as nginx does it: each choice adds to all running weights their weights, takes the greatest,
   * and takes the sum of all weights off it. So 5, 1, 1 are chosen as a a b a c a a, and not a a a a a b c.
   */
  #weighted(): Member | undefined {
    const members = this.#members.filter(({ weight }) => weight > 0);
    let sum = 0;
    for (const member of members) {
      member.current += member.weight;
      sum += member.weight;
    }
    const best = least(members, (one, other) => other.current - one.current);
    if (best !== undefined) best.current -= sum;
    return best;
  }
}

/**
 * Chooses an instance of a service for each call, from what a registry tells, without asking the store.
 *
 * Each service that is asked for is watched from then on, until {@link LoadBalancer.close}. While the store cannot be reached
 * it goes on with the instances it knows.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { LoadBalancer, ServiceRegistry, Strategy } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using registry = new ServiceRegistry(client, 'shop', 10_000);
 * for (const id of ['a', 'b', 'c']) {
 *   await registry.register({ name: 'api', id, address: '10.0.0.7', port: 8080 });
 * }
 * await using balancer = new LoadBalancer(registry, Strategy.RoundRobin);
 * const ids: string[] = [];
 * for (let call = 0; call < 4; call++) {
 *   const { service, release } = await balancer.getService('api');
 *   ids.push(service.id);
 *   release();
 * }
 * console.log(ids.join(' ')); // a b c a
 * ```
 */
export class LoadBalancer implements AsyncDisposable {
  readonly #registry: ServiceRegistry;
  readonly #strategy: Strategy;
  readonly #weight: (service: Service) => number;
  readonly #pools = new Map<string, { pool: Pool; watching: Promise<Unsubscribe> }>();
  /** The pools that are complete: their services are chosen at once. */
  readonly #ready = new Map<string, Pool>();
  #closed = false;

  /**
   * @param registry - Stays open when this is closed. Close this first: of a registry that was closed, it goes on choosing among
   *   the last instances that were told.
   * @param strategy - Default `roundRobin`.
   * @throws `InvalidArgumentError`.
   */
  constructor(
    registry: ServiceRegistry,
    strategy: Strategy = Strategy.RoundRobin,
    options: LoadBalancerOptions = {},
  ) {
    if (!Object.values(Strategy).includes(strategy)) {
      const known = Object.values(Strategy).join(', ');
      throw new InvalidArgumentError(`a strategy is one of ${known}; got ${describe(strategy)}`);
    }
    const known = ['weight'] as const;
    const { weight = weightOf } = checkFields(options, 'the options of a load balancer', known);
    if (typeof weight !== 'function') {
      throw new InvalidArgumentError(`weight is a function; got ${describe(weight)}`);
    }
    this.#registry = registry;
    this.#strategy = strategy;
    this.#weight = weight;
  }

  /**
   * Chooses an instance of a service. The first call for a service reads and watches it; later ones ask nobody.
   *
   * @throws `NotFoundError` if there is none; `InvalidArgumentError`; `ClosedError`; the first time, what the client throws.
   */
  async getService(name: string, options?: CallOptions): Promise<Selected> {
    if (this.#closed) throw closed();
    const pool = this.#ready.get(name) ?? (await this.#open(name, options));
    const member = pool.choose(this.#strategy);
    if (member === undefined) {
      const message = `no instance of the service ${describe(name)} is registered${this.#strategy === 'weighted' ? ' with a weight above 0' : ''}`;
      throw new NotFoundError(message);
    }
    member.active += 1;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      member.active -= 1;
    };
    return { service: member.service, release };
  }

  /** Ends its watches. Closing twice is closing once. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#ready.clear();
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    // A watch that could not begin has nothing to stop; who asked for it was told.
    for (const { watching } of pools) (await watching.catch(() => undefined))?.();
  }

  /** The same as {@link LoadBalancer.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #open(name: string, options: CallOptions | undefined): Promise<Pool> {
    checkName(name, 'the name of a service');
    const deadline = new Deadline(`watching the service "${name}"`, options);
    let opening = this.#pools.get(name);
    if (opening === undefined) {
      const pool = new Pool(this.#weight);
      const watching = this.#registry.watch(name, (event) => {
        pool.hear(event);
      });
      opening = { pool, watching };
      this.#pools.set(name, opening);
      watching.catch(() => this.#pools.delete(name));
    }
    await deadline.within(opening.watching);
    if (this.#closed) throw closed();
    this.#ready.set(name, opening.pool);
    return opening.pool;
  }
}

/** The first of those that no other is less than. */
function least(
  members: readonly Member[],
  by: (one: Member, other: Member) => number,
): Member | undefined {
  let best: Member | undefined;
  for (const member of members) {
    if (best === undefined || by(member, best) < 0) best = member;
  }
  return best;
}

function closed(): ClosedError {
  return new ClosedError('the load balancer was closed; make another one to go on');
}
