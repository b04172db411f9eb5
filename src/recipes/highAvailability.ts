import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions } from '@norikv/client';
import { callEach, checkCallback, throwUncaught } from './callbacks.js';
import { describe } from './keys.js';
import type { LeaderElection } from './leaderElection.js';
import { checkFields } from './options.js';

/** What a node does as long as its role lasts: its signal fires when it is over. */
export type Role = (signal: AbortSignal) => unknown;

/** Options of a {@link HighAvailabilityCoordinator}. */
export interface HighAvailabilityOptions {
  /** Called with what a role throws. Default: it is thrown as an uncaught error. */
  readonly onError?: ((error: unknown, role: 'primary' | 'secondary') => unknown) | undefined;
}

/**
 * Two roles of a node: the primary's while it leads, the secondary's while it does not. It switches at once, without waiting for
 * the other role to end. A primary that returns or throws gives leadership up, so that another node can do better; this one
 * stands again, behind the others.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { HighAvailabilityCoordinator, LeaderElection } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const until = (signal: AbortSignal) => new Promise((resolve) => signal.addEventListener('abort', resolve));
 * const election = new LeaderElection(client, 'database', 'node-1');
 * await using node = new HighAvailabilityCoordinator(
 *   election,
 *   async (signal) => {
 *     console.log('serving'); // serving
 *     await until(signal);
 *   },
 *   (signal) => until(signal),
 * );
 * await node.start();
 * ```
 */
export class HighAvailabilityCoordinator implements AsyncDisposable {
  readonly #election: LeaderElection;
  readonly #roles: { readonly primary: Role; readonly secondary: Role };
  readonly #onError: (error: unknown, role: 'primary' | 'secondary') => unknown;
  readonly #running = new Set<Promise<void>>();
  #current: AbortController | undefined;
  #started = false;

  /** @throws {@link InvalidArgumentError} if a role is not a function. */
  constructor(
    election: LeaderElection,
    primary: Role,
    secondary: Role,
    options?: HighAvailabilityOptions,
  ) {
    for (const role of [primary, secondary]) {
      if (typeof role !== 'function') {
        throw new InvalidArgumentError(`a role is a function; got ${describe(role)}`);
      }
    }
    this.#election = election;
    this.#roles = { primary, secondary };
    const { onError } = checkFields(options, 'the settings of a coordinator', ['onError']);
    checkCallback(onError, 'onError');
    this.#onError = onError ?? throwUncaught;
  }

  /**
   * Stands in the election, which it owns from now on: as the secondary, until it leads.
   *
   * @throws What `LeaderElection.start` throws.
   */
  async start(options?: CallOptions): Promise<void> {
    if (this.#started) throw new InvalidArgumentError('it was started already: stop it first');
    this.#started = true;
    this.#play('secondary');
    try {
      await this.#election.start(
        () => {
          this.#play('primary');
        },
        () => {
          if (this.#started) this.#play('secondary');
        },
        options,
      );
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * Ends the role and leaves the election, then waits until both roles have ended, and always resolves then: a role that stops
   * its own coordinator must not await it.
   */
  async stop(): Promise<void> {
    this.#started = false;
    this.#current?.abort(new Error('it was stopped'));
    this.#current = undefined;
    await this.#election.stop();
    await Promise.all(this.#running);
  }

  /** The same as {@link stop}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #play(name: 'primary' | 'secondary'): void {
    this.#current?.abort(new Error(`the node is the ${name} now`));
    const aborts = new AbortController();
    this.#current = aborts;
    const run = this.#run(name, aborts.signal);
    this.#running.add(run);
    void run.then(() => this.#running.delete(run));
  }

  async #run(name: 'primary' | 'secondary', signal: AbortSignal): Promise<void> {
    try {
      await this.#roles[name](signal);
    } catch (error) {
      // What ended because it was told to has not failed.
      if (!signal.aborted) callEach([this.#onError], error, name);
    }
    if (name === 'primary' && !signal.aborted) await this.#election.resign();
  }
}
