import { InvalidArgumentError } from '@norikv/client';
import { callEach, checkCallback, throwUncaught } from './callbacks.js';
import { describe } from './keys.js';
import type { LeaderElection } from './leaderElection.js';
import { pause } from './timers.js';
import { checkFields } from './options.js';

/** Options of a {@link LeaderTask}. */
export interface LeaderTaskOptions {
  /** Called with what a run throws; the next one takes place all the same. Default: it is thrown as an uncaught error. */
  readonly onError?: ((error: unknown) => unknown) | undefined;
}

/**
 * Work that only the leader does, again and again: at once when the node is elected, and then `intervalMs` after the end of each
 * run. Runs never overlap, and each has a signal that fires when the node stops leading.
 *
 * It follows an election and does not stand in it: `election.start()` does.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { LeaderElection, LeaderTask } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using election = new LeaderElection(client, 'cleanup', 'node-1');
 * await using task = new LeaderTask(election, (signal) => client.deleteRange({ prefix: 'tmp/' }, { signal }), 60_000);
 * task.start();
 * await election.start();
 * ```
 */
export class LeaderTask implements AsyncDisposable {
  readonly #election: LeaderElection;
  readonly #fn: (signal: AbortSignal) => unknown;
  readonly #intervalMs: number;
  readonly #onError: (error: unknown) => unknown;
  #unsubscribe: (() => void)[] = [];
  #aborts: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  /**
   * @param fn - The work. It has to stop when its signal fires: somebody else leads then, or is about to.
   * @param intervalMs - The pause between two runs, in milliseconds: 0 to 2^31 - 1.
   * @throws {@link InvalidArgumentError} for what cannot be.
   */
  constructor(
    election: LeaderElection,
    fn: (signal: AbortSignal) => unknown,
    intervalMs: number,
    options?: LeaderTaskOptions,
  ) {
    if (typeof fn !== 'function') {
      throw new InvalidArgumentError(`a task is a function; got ${describe(fn)}`);
    }
    if (!Number.isSafeInteger(intervalMs) || intervalMs < 0 || intervalMs > 2_147_483_647) {
      throw new InvalidArgumentError(
        `intervalMs is a whole number of milliseconds from 0 to 2^31 - 1; got ${describe(intervalMs)}`,
      );
    }
    this.#election = election;
    this.#fn = fn;
    this.#intervalMs = intervalMs;
    const { onError } = checkFields(options, 'the settings of a task', ['onError']);
    checkCallback(onError, 'onError');
    this.#onError = onError ?? throwUncaught;
  }

  /** Begins to follow the election. Starting twice is starting once. */
  start(): void {
    if (this.#unsubscribe.length > 0) return;
    this.#unsubscribe = [
      this.#election.onElected(() => {
        this.#begin();
      }),
      this.#election.onDefeat(() => {
        this.#aborts?.abort(new Error('this node does not lead any more'));
      }),
    ];
    if (this.#election.isLeader()) this.#begin();
  }

  /**
   * Ends it, and waits for the run under way, whose signal fires. It always resolves, once that run has ended: a run that stops
   * its own task must not await it.
   */
  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#aborts?.abort(new Error('the task was stopped'));
    await this.#running;
  }

  /** The same as {@link stop}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #begin(): void {
    this.#aborts?.abort(new Error('a new term began'));
    const aborts = new AbortController();
    this.#aborts = aborts;
    // A run of the term before may not have ended.
    this.#running = this.#running.then(() => this.#repeat(aborts.signal));
  }

  async #repeat(signal: AbortSignal): Promise<void> {
    const ended = (): boolean => signal.aborted;
    while (!ended() && this.#election.isLeader()) {
      try {
        await this.#fn(signal);
      } catch (error) {
        // What ended because it was told to has not failed.
        if (!ended()) callEach([this.#onError], error);
      }
      // It is the election that keeps a process alive.
      await pause(this.#intervalMs, signal, 'idle');
    }
  }
}
