import { ClosedError, InvalidArgumentError } from '@norikv/client';
import type { Lease, NoriKVClient } from '@norikv/client';
import type { Deadline } from './deadline.js';
import { describe } from './keys.js';

/** How long a lease lives without a keep-alive if nothing else is said, in milliseconds. */
export const DEFAULT_TTL_MS = 10_000;

/** How long giving something back may take: a time of its own, whatever its user's was. */
export const RELEASE_TIMEOUT_MS = 5_000;

/** A lease that is granted with its first use, and again after it was lost. Nothing of it keeps a process alive. */
export class Leaseholder {
  readonly #client: NoriKVClient;
  readonly #ttlMs: number;
  #lease: Lease | undefined;
  #granting: Promise<Lease> | undefined;
  /** How many use a lease; one that nobody shall use again is revoked with the last. */
  readonly #users = new Map<Lease, number>();
  readonly #retired = new Set<Lease>();
  #closed = false;
  #closing: Promise<void> | undefined;

  /** @throws `InvalidArgumentError` for a time that no lease has. */
  constructor(client: NoriKVClient, ttlMs: number) {
    if (!Number.isSafeInteger(ttlMs) || ttlMs < 1) {
      throw new InvalidArgumentError(
        `ttlMs is a whole number of milliseconds from 1; got ${describe(ttlMs)}`,
      );
    }
    this.#client = client;
    this.#ttlMs = ttlMs;
  }

  /** A lease that is alive, in use until {@link release}. @throws What granting it throws, and `ClosedError`. */
  async use(deadline: Deadline): Promise<Lease> {
    if (this.#closed) throw new ClosedError('it was closed: make a new one');
    // Asking for the signal asks the clock.
    const lease =
      this.#lease?.signal.aborted === false ? this.#lease : await deadline.within(this.#grant());
    this.#users.set(lease, (this.#users.get(lease) ?? 0) + 1);
    return lease;
  }

  /** Ends a use. */
  async release(lease: Lease): Promise<void> {
    const left = (this.#users.get(lease) ?? 1) - 1;
    if (left > 0) {
      this.#users.set(lease, left);
      return;
    }
    this.#users.delete(lease);
    if (this.#retired.delete(lease)) await revoke(lease);
  }

  /** Sees to it that the lease ends with its last use: something of it may have been left in the store. */
  retire(lease: Lease): void {
    if (this.#lease === lease) this.#lease = undefined;
    this.#retired.add(lease);
  }

  /** Revokes its leases, and with them everything that was put with them. */
  close(): Promise<void> {
    this.#closed = true;
    // Who closes it again waits for what the first does.
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    const granted = await this.#granting?.catch(() => undefined);
    const leases = new Set([...this.#users.keys(), ...this.#retired]);
    if (this.#lease !== undefined) leases.add(this.#lease);
    if (granted !== undefined) leases.add(granted);
    this.#lease = undefined;
    this.#users.clear();
    this.#retired.clear();
    await Promise.all([...leases].map(revoke));
  }

  async #grant(): Promise<Lease> {
    this.#granting ??= this.#client
      .lease({ ttlMs: this.#ttlMs })
      .then((lease) => (this.#lease = lease))
      .finally(() => (this.#granting = undefined));
    const lease = await this.#granting;
    if (!this.#closed) return lease;
    throw new ClosedError('it was closed meanwhile');
  }
}

async function revoke(lease: Lease): Promise<void> {
  if (lease.signal.aborted) return;
  // A lease whose revocation fails is not renewed any more: what it stood for is free once it has run out.
  await lease.revoke({ timeoutMs: RELEASE_TIMEOUT_MS }).catch(() => undefined);
}
