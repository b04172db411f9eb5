import { AlreadyExistsError, NoriKVError, compare, op } from '@norikv/client';
import type { CallOptions, Entry, Lease, NoriKVClient, Version } from '@norikv/client';
import { Again } from './again.js';
import { CONFLICT, Deadline } from './deadline.js';
import { writeGuarded } from './guarded.js';
import { randomId } from './keys.js';
import type { Leaseholder } from './leaseholder.js';
import { repeat } from './repeat.js';
import { decodeService, encodeService } from './service.js';
import type { Service } from './service.js';

/** What a registration needs of its registry. */
export interface RegistrationHome {
  readonly client: NoriKVClient;
  readonly holder: Leaseholder;
  /** Hears what failed in the background, and is done again. */
  readonly failed: (error: unknown) => void;
}

/** One service in the registry: kept there while it is wanted, with a lease that is alive. */
export class Registered {
  readonly #home: RegistrationHome;
  readonly #key: string;
  #service: Service;
  readonly #id = randomId();
  readonly #aborts = new AbortController();
  #writes = 0;
  /** What the last write left there: the entry is ours while it has this version. */
  #version: Version | undefined;
  #lease: Lease | undefined;
  #wanted = true;
  #over = false;
  /** One change at a time. */
  #changing: Promise<void> = Promise.resolve();
  readonly #again = new Again(
    () => this.#settle(),
    (error) => {
      this.#failed(error);
    },
  );
  readonly #onLeaseEnd = (): void => {
    this.#again.now();
  };

  constructor(home: RegistrationHome, key: string, service: Service) {
    this.#home = home;
    this.#key = key;
    this.#service = service;
  }

  /** Fires when another registration has taken its place. */
  get signal(): AbortSignal {
    return this.#aborts.signal;
  }

  /** Whether it was put there, and is kept there. */
  get isKept(): boolean {
    return !this.#over && this.#version !== undefined;
  }

  /**
   * Puts it there, or puts what it is now in the place of what it was.
   *
   * @param replace - Whether another's entry gives way.
   * @throws `AlreadyExistsError`.
   */
  async put(service: Service, deadline: Deadline, replace: boolean): Promise<void> {
    await this.#one(async () => {
      await this.#put(service, deadline, replace);
      this.#service = service;
      this.#wanted = true;
      this.#over = false;
      this.#again.start();
    });
  }

  /** Whether it is to be there: what is healthy is. */
  want(wanted: boolean): void {
    if (this.#over || this.#wanted === wanted) return;
    this.#wanted = wanted;
    this.#again.now();
  }

  /** Takes it out for good, if it is still ours; answers whether it was there. */
  async remove(options: CallOptions | undefined): Promise<boolean> {
    const deadline = new Deadline(`taking "${this.#key}" out`, options);
    this.end();
    let removed = false;
    await this.#one(async () => {
      removed = await this.#delete(deadline);
    });
    return removed;
  }

  /** Leaves it to its lease. */
  end(): void {
    this.#over = true;
    this.#again.stop();
    this.#lease?.signal.removeEventListener('abort', this.#onLeaseEnd);
  }

  /** Resolves once no call of it is under way any more. */
  async settled(): Promise<void> {
    await this.#changing;
  }

  /** Does a change after those before it. */
  async #one(change: () => Promise<void>): Promise<void> {
    const before = this.#changing;
    const done = before.then(change);
    // Who asked for it hears what it failed with.
    this.#changing = done.catch(() => undefined);
    await done;
  }

  async #put(service: Service, deadline: Deadline, replace: boolean): Promise<void> {
    const { client, holder } = this.#home;
    const lease = await holder.use(deadline);
    let current: Entry | null = null;
    const version = await deadline
      .retry(async () => {
        this.#writes += 1;
        const value = encodeService(service, `${this.#id}.${this.#writes}`);
        const written = await writeGuarded(
          client,
          { key: this.#key, current, value, lease },
          deadline,
        );
        if (written !== CONFLICT) return written;
        current = await client.getOrNull(this.#key, deadline.call);
        if (current !== null && !replace && !this.#isOurs(current)) throw taken(current);
        return CONFLICT;
      })
      .catch(async (error: unknown) => {
        // What may have been written in spite of the error goes with the lease, which is not kept for it.
        if (error instanceof NoriKVError && error.outcome === 'unknown') holder.retire(lease);
        await holder.release(lease);
        throw error;
      });
    await this.#letGo();
    this.#version = version;
    this.#lease = lease;
    lease.signal.addEventListener('abort', this.#onLeaseEnd, { once: true });
    if (lease.signal.aborted) this.#onLeaseEnd();
  }

  async #delete(deadline: Deadline): Promise<boolean> {
    const version = this.#version;
    const removed = version !== undefined && (await this.#deleteOwn(version, deadline));
    this.#version = undefined;
    await this.#letGo();
    return removed;
  }

  /** Deletes the entry if it is as we wrote it; asks again if the reply was lost. */
  async #deleteOwn(version: Version, deadline: Deadline): Promise<boolean> {
    const { client } = this.#home;
    const unchanged = compare(this.#key).version.equals(version);
    const deletion = client.txn().if(unchanged).then(op.delete(this.#key));
    let asked = 0;
    const { succeeded } = await repeat(() => {
      asked += 1;
      return deletion.commit(deadline.call);
    }, deadline);
    // Gone when it was asked again: by the first time.
    return succeeded || asked > 1;
  }

  /** Ends the use of the lease. */
  async #letGo(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease === undefined) return;
    lease.signal.removeEventListener('abort', this.#onLeaseEnd);
    await this.#home.holder.release(lease);
  }

  /** Makes what is in the store what is wanted. */
  async #settle(): Promise<void> {
    await this.#one(async () => {
      if (this.#over) return;
      const deadline = new Deadline(`registering "${this.#key}" again`);
      if (!this.#wanted) await this.#delete(deadline);
      else if (this.#lease?.signal.aborted !== false) {
        await this.#put(this.#service, deadline, false);
      }
    });
  }

  #failed(error: unknown): void {
    if (this.#over) return;
    this.#home.failed(error);
    if (!(error instanceof AlreadyExistsError)) return;
    this.end();
    void this.#letGo();
    this.#aborts.abort(error);
  }

  #isOurs(entry: Entry): boolean {
    return decodeService(entry).by.startsWith(`${this.#id}.`);
  }
}

/** That somebody else has the name and id. */
function taken(entry: Entry): AlreadyExistsError {
  const { service } = decodeService(entry);
  const message = `the service "${service.name}" has an instance "${service.id}" already, at ${service.address}:${service.port}; give this one another id, or register it with replace: true`;
  return new AlreadyExistsError(message, { key: entry.key, actual: entry.version });
}
