// What one process of all does: it goes on with the orders that others left, and says in a report that it did.
import { op } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { LeaderElection, LeaderTask } from '@norikv/client/recipes';
import { adminOnly } from './tenants.js';
import type { Handler } from './http.js';
import type { Tenants } from './tenants.js';
import type { Settings } from './settings.js';

const REPORT = 'shop-report';

/** What the leader did last. */
export interface Report {
  readonly leader: string;
  /** Greater than that of every leader before. */
  readonly token: string;
  /** How many orders it went on with, since it leads. */
  readonly settled: number;
}

export class Jobs implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #tenants: Tenants;
  readonly #settings: Settings;
  readonly #election: LeaderElection;
  readonly #task: LeaderTask;
  #settled = 0;
  #term: string | undefined;

  constructor(client: NoriKVClient, tenants: Tenants, settings: Settings) {
    this.#client = client;
    this.#tenants = tenants;
    this.#settings = settings;
    const { nodeId, leaderMs, settleMs } = settings;
    this.#election = new LeaderElection(client, 'shop-jobs', nodeId, leaderMs);
    // A store that is away is away for the next run, too, or not.
    const onError = (error: unknown): void => {
      console.warn(`${nodeId}: ${String(error)}`);
    };
    this.#election.onError(onError);
    this.#task = new LeaderTask(this.#election, (signal) => this.#run(signal), settleMs, {
      onError,
    });
  }

  async start(): Promise<void> {
    this.#task.start();
    await this.#election.start();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const token = this.#election.token?.toString();
    if (token === undefined) return;
    if (token !== this.#term) this.#settled = 0;
    this.#term = token;
    for (const { id, suspended } of await this.#tenants.manager.list({ signal })) {
      if (suspended) continue;
      const { purchases } = await this.#tenants.shop(id);
      this.#settled += await purchases.settlePending(signal);
    }
    const report: Report = { leader: this.#settings.nodeId, token, settled: this.#settled };
    // If somebody else leads by now, theirs stays: the store checks in the same step.
    await this.#client
      .txn()
      .if(this.#election.guard())
      .then(op.put(REPORT, JSON.stringify(report)))
      .commit({ signal });
  }

  /** Answers administrators what the leader did last. */
  report: readonly [Handler, Handler] = [
    adminOnly,
    async (_request, response) => {
      const { timeoutMs } = this.#settings;
      const entry = await this.#client.getOrNull(REPORT, { timeoutMs });
      response.json(entry?.json() ?? {});
    },
  ];

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#task.stop();
    await this.#election.close();
  }
}
