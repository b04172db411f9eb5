import {
  AlreadyExistsError,
  InvalidArgumentError,
  NoriKVError,
  NotFoundError,
  compare,
  keyToBytes,
  op,
} from '@norikv/client';
import type { CallOptions, NoriKVClient, TxnOp } from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { writeGuarded } from './guarded.js';
import { isRecord } from './json.js';
import { checkName, describe, randomId } from './keys.js';
import { checkFields, checkOptions } from './options.js';
import {
  TENANTS,
  checkLimits,
  dataPrefix,
  tenantJson,
  tenantKey,
  tenantOf,
  usageKey,
} from './tenant.js';
import type { TenantLimits, TenantMetadata, TenantUsage } from './tenant.js';
import { TenantClient } from './tenantClient.js';
import { countUsage } from './tenantUsage.js';
import { View } from './view.js';

export { TenantLimitError } from './tenant.js';
export type { TenantLimits, TenantMetadata, TenantUsage } from './tenant.js';

/** The plans, unless others are given. */
const PLANS: Readonly<Record<string, TenantLimits>> = {
  free: { maxKeys: 1_000, maxStorageMB: 10 },
  pro: { maxKeys: 100_000, maxStorageMB: 1_000 },
  enterprise: { maxKeys: Infinity, maxStorageMB: Infinity },
};

/** Settings of a {@link TenantManager}. */
export interface TenantManagerOptions {
  /** What each plan allows, by its name. Default: `free`, `pro` and `enterprise`, the last without limits. */
  readonly plans?: Readonly<Record<string, TenantLimits>> | undefined;
}

/**
 * Tenants of one store, each with keys of its own and limits that hold.
 *
 * A tenant's keys are a namespace: no key of one is a key of another, whatever their ids are. What it has is counted in the
 * transactions that write, so that the limits hold also when many write at once. What the manager changes reaches every
 * {@link TenantClient}, also of other processes: at once where it writes, and with the next delivery of a watch where it reads.
 *
 * Keys: `tenant-meta/<id>` holds the tenant, `tenant-usage/<id>` how many keys and bytes it has, and `tenant/<id>/` begins its
 * own keys and the names of its vector indexes.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { TenantLimitError, TenantManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using tenants = new TenantManager(client, { plans: { tiny: { maxKeys: 1, maxStorageMB: 1 } } });
 * await tenants.create('acme', 'Acme Corp', 'tiny');
 * const acme = await tenants.getClient('acme');
 * await acme.put('config', 'blue');
 * console.log((await acme.get('config')).text()); // blue
 * const second: unknown = await acme.put('more', '').catch((error: unknown) => error);
 * console.log(second instanceof TenantLimitError && second.limit); // maxKeys
 * ```
 */
export class TenantManager implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #plans = new Map<string, TenantLimits>();
  readonly #view: View;
  readonly #id = randomId();
  #writes = 0;

  /** @throws `InvalidArgumentError` for plans that are none. */
  constructor(client: NoriKVClient, options: TenantManagerOptions = {}) {
    const { plans = PLANS } = checkFields(options, 'settings of a tenant manager', ['plans']);
    if (!isRecord(plans)) {
      throw new InvalidArgumentError(`plans are an object; got ${describe(plans)}`);
    }
    for (const [name, limits] of Object.entries(plans)) {
      this.#plans.set(
        checkName(name, 'the name of a plan'),
        checkLimits(limits, `plan ${describe(name)}`),
      );
    }
    this.#client = client;
    this.#view = new View(client, TENANTS);
  }

  /**
   * Creates a tenant. One round trip.
   *
   * @param tenantId - 1 to 256 bytes of UTF-8, whatever they are.
   * @param name - What people call it; 1 to 256 bytes.
   * @param plan - One of the plans.
   * @throws `AlreadyExistsError` if there is one with that id, which stays as it is; `InvalidArgumentError`, also for a plan
   *   that there is not.
   */
  async create(
    tenantId: string,
    name: string,
    plan: string,
    options: CallOptions = {},
  ): Promise<TenantMetadata> {
    checkName(tenantId, 'a tenant id');
    checkName(name, 'the name of a tenant');
    const limits = this.#limitsOf(plan);
    checkOptions(options);
    const deadline = new Deadline(`creating tenant ${describe(tenantId)}`, options);
    const tenant = { id: tenantId, name, plan, createdAt: Date.now(), limits, suspended: false };
    const key = tenantKey(tenantId);
    const written = await writeGuarded(
      this.#client,
      { key, current: null, value: tenantJson(tenant, this.#by()) },
      deadline,
    );
    if (written !== CONFLICT) return tenant;
    throw new AlreadyExistsError(
      `there is a tenant ${describe(tenantId)} already; it stays as it is`,
      {
        key: keyToBytes(key),
        actual: null,
      },
    );
  }

  /** Reads a tenant; `null` if it is not there. One round trip. */
  async get(tenantId: string, options: CallOptions = {}): Promise<TenantMetadata | null> {
    checkName(tenantId, 'a tenant id');
    checkOptions(options);
    const entry = await this.#client.getOrNull(tenantKey(tenantId), options);
    return entry === null ? null : tenantOf(entry);
  }

  /** All tenants, in the order of their ids as they are in keys. One scan. */
  async list(options: CallOptions = {}): Promise<readonly TenantMetadata[]> {
    checkOptions(options);
    const entries = await this.#client.scan({ prefix: TENANTS, ...options }).toArray();
    return entries.map(tenantOf);
  }

  /**
   * The client of a tenant. The first one begins a watch on all tenants' metadata, which all share; the others take no round
   * trip. A suspended tenant has one, too, which refuses.
   *
   * @throws `NotFoundError` if there is no such tenant.
   */
  async getClient(tenantId: string, options: CallOptions = {}): Promise<TenantClient> {
    checkName(tenantId, 'a tenant id');
    checkOptions(options);
    const client = new TenantClient(this.#client, tenantId, this.#view);
    // The watch may not have told yet of one that was just created.
    await client.refresh(new Deadline(`reading tenant ${describe(tenantId)}`, options));
    return client;
  }

  /** Shuts a tenant out: its clients refuse everything. Twice is once. @throws `NotFoundError`. */
  async suspend(tenantId: string, options?: CallOptions): Promise<void> {
    await this.#change(tenantId, (tenant) => ({ ...tenant, suspended: true }), options);
  }

  /** Lets a suspended tenant in again. @throws `NotFoundError`. */
  async resume(tenantId: string, options?: CallOptions): Promise<void> {
    await this.#change(tenantId, (tenant) => ({ ...tenant, suspended: false }), options);
  }

  /**
   * Gives a tenant another plan, with the limits that it has now. A tenant that has more than a smaller plan allows keeps it, and
   * can write nothing that makes it more.
   *
   * @throws `NotFoundError`; `InvalidArgumentError` for a plan that there is not.
   */
  async setPlan(tenantId: string, plan: string, options?: CallOptions): Promise<void> {
    const limits = this.#limitsOf(plan);
    // What was written while nothing was counted is counted with the next write.
    const ops = [op.delete(usageKey(checkName(tenantId, 'a tenant id')))];
    await this.#change(tenantId, (tenant) => ({ ...tenant, plan, limits }), options, ops);
  }

  /** Counts what a tenant has now: a scan of all of it. @throws `NotFoundError`. */
  async getUsage(tenantId: string, options: CallOptions = {}): Promise<TenantUsage> {
    if ((await this.get(tenantId, options)) === null) throw missing(tenantId);
    const deadline = new Deadline(`counting tenant ${describe(tenantId)}`, options);
    const { keys, bytes } = (await countUsage(this.#client, tenantId, null, deadline)).counted;
    return { keys, bytes };
  }

  /**
   * Deletes a tenant and everything it has, in one transaction; its vector indexes before that. `false` if it is not there.
   * What its clients write afterwards is refused.
   */
  async delete(tenantId: string, options: CallOptions = {}): Promise<boolean> {
    checkName(tenantId, 'a tenant id');
    checkOptions(options);
    const deadline = new Deadline(`deleting tenant ${describe(tenantId)}`, options);
    const prefix = dataPrefix(tenantId);
    const part = this.#client.namespace(prefix);
    for (const { namespace } of await indexesOf(part, deadline)) {
      await part.vectorDropIndex(namespace, deadline.call);
    }
    const { succeeded } = await this.#client
      .txn()
      .if(compare(tenantKey(tenantId)).exists.equals(true))
      .then(
        op.delete(tenantKey(tenantId)),
        op.delete(usageKey(tenantId)),
        op.deleteRange({ prefix }),
      )
      .commit(deadline.call);
    return succeeded;
  }

  /** Ends the watch, and its clients with it. Closing twice is closing once. */
  async close(): Promise<void> {
    await this.#view.close();
  }

  /** The same as {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #change(
    tenantId: string,
    change: (tenant: TenantMetadata) => TenantMetadata,
    options: CallOptions = {},
    ops: readonly TxnOp[] = [],
  ): Promise<void> {
    checkName(tenantId, 'a tenant id');
    checkOptions(options);
    const deadline = new Deadline(`changing tenant ${describe(tenantId)}`, options);
    const key = tenantKey(tenantId);
    await deadline.retry(async () => {
      const current = await this.#client.getOrNull(key, deadline.call);
      if (current === null) throw missing(tenantId);
      const value = tenantJson(change(tenantOf(current)), this.#by());
      return await writeGuarded(this.#client, { key, current, value }, deadline, { ops });
    });
  }

  #limitsOf(plan: string): TenantLimits {
    const limits = this.#plans.get(plan);
    if (limits !== undefined) return limits;
    const plans = [...this.#plans.keys()].join(', ');
    throw new InvalidArgumentError(`there is no plan ${describe(plan)}; there are ${plans}`);
  }

  #by(): string {
    return `${this.#id}.${this.#writes++}`;
  }
}

function missing(tenantId: string): NotFoundError {
  return new NotFoundError(`there is no tenant ${describe(tenantId)}`);
}

/** A store without vectors has none. */
async function indexesOf(
  client: NoriKVClient,
  deadline: Deadline,
): Promise<readonly { readonly namespace: string }[]> {
  try {
    return await client.vectorIndexes(deadline.call);
  } catch (error) {
    if (error instanceof NoriKVError && error.code === 'UNSUPPORTED') return [];
    throw error;
  }
}
