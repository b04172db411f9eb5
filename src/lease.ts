import type {
  Key,
  Lease as PublicLease,
  LeaseOptions,
  LeasePutOptions,
  LeaseStatus,
  LeaseTimeToLiveOptions,
  PutResult,
  CallOptions,
  Value,
} from '../index.js';
import { describe } from './bytes.js';
import { InvalidArgumentError, LeaseLostError } from './errors.js';
import { Failure } from './failure.js';
import { Op } from './frame.js';
import { registerLease } from './leaseId.js';
import {
  LEASE_OPTIONS,
  LEASE_PUT_OPTIONS,
  TIME_TO_LIVE_OPTIONS,
  checkNames,
  checkOptions,
} from './names.js';
import type { Part } from './part.js';
import { put } from './put.js';
import { LeaseGranted, LeaseTimes } from './reply.js';
import { cutStack, refusing } from './stack.js';
import type { Caller } from './stack.js';
import { Stream } from './stream.js';
import type { Version } from './version.js';
import { checkType } from './write.js';
import { unexpected } from './unexpected.js';

/**
 * A lease that the core keeps alive. What it says is what the core's clock says now: a process that stood still must
 * not act on a lease before it heard that it is lost.
 */
export class Lease implements PublicLease {
  readonly id: bigint;
  readonly ttlMs: number;
  readonly #part: Part;
  /** Why the core says that it ended, and the error of it. */
  #ended: Failure | undefined;
  #reason: LeaseLostError | undefined;
  #aborts: AbortController | undefined;
  #lost: Promise<LeaseLostError> | undefined;
  #resolve: ((reason: LeaseLostError) => void) | undefined;

  constructor(part: Part, granted: LeaseGranted) {
    this.#part = part;
    this.id = granted.id;
    this.ttlMs = granted.ttlMs;
    registerLease(this, {
      id: this.id,
      check: () => {
        this.#check();
      },
    });
  }

  /** Hears why the lease ended. Called by what granted it. */
  static end(lease: Lease, why: Failure): void {
    // An error costs more than a lease: it is made when somebody asks for it.
    lease.#ended = why;
    if (lease.#aborts !== undefined || lease.#resolve !== undefined) lease.#look();
  }

  get lost(): Promise<LeaseLostError> {
    this.#look();
    this.#lost ??= new Promise((resolve) => {
      if (this.#reason === undefined) this.#resolve = resolve;
      else resolve(this.#reason);
    });
    return this.#lost;
  }

  get signal(): AbortSignal {
    this.#look();
    if (this.#aborts === undefined) {
      this.#aborts = new AbortController();
      if (this.#reason !== undefined) this.#aborts.abort(this.#reason);
    }
    return this.#aborts.signal;
  }

  put(
    key: Key,
    value: Value,
    options: LeasePutOptions & { readonly prevEntry: true },
  ): Promise<PutResult>;
  put(
    key: Key,
    value: Value,
    options?: LeasePutOptions & { readonly prevEntry?: false },
  ): Promise<Version>;
  put(key: Key, value: Value, options?: LeasePutOptions): Promise<Version | PutResult>;
  async put(key: Key, value: Value, options?: LeasePutOptions): Promise<Version | PutResult> {
    const caller = Lease.prototype.put;
    refusing(caller, () => {
      checkOptions(options, LEASE_PUT_OPTIONS);
    });
    return await put(this.#part, caller, key, value, { ...options, lease: this });
  }

  async timeToLive(options?: LeaseTimeToLiveOptions): Promise<LeaseStatus> {
    const caller = Lease.prototype.timeToLive;
    refusing(caller, () => {
      this.#check();
    });
    const reply = await this.#part.call(caller, {
      op: Op.leaseTimeToLive,
      options,
      known: TIME_TO_LIVE_OPTIONS,
      write: (frame) => {
        checkType(options?.keys, 'boolean', 'keys');
        frame.u64(this.id);
        frame.u8(options?.keys === true ? 1 : 0);
      },
    });
    if (!(reply instanceof LeaseTimes)) throw unexpected('timeToLive');
    const { grantedMs, remainingMs, keys } = reply;
    return { grantedMs, remainingMs, keys };
  }

  async revoke(options?: CallOptions): Promise<void> {
    await this.#revoke(Lease.prototype.revoke, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#look();
    if (this.#reason !== undefined) return;
    try {
      await this.#revoke(Lease.prototype[Symbol.asyncDispose], undefined);
    } catch (error) {
      // It ended by itself meanwhile: there is nothing left to give back.
      if (!(error instanceof LeaseLostError)) throw error;
    }
  }

  async #revoke(caller: Caller, options: CallOptions | undefined): Promise<void> {
    refusing(caller, () => {
      this.#check();
    });
    const reply = await this.#part.call(caller, {
      op: Op.leaseRevoke,
      writes: true,
      options,
      write: (frame) => {
        frame.u64(this.id);
      },
    });
    if (reply !== undefined) throw unexpected('revoke');
  }

  /** Refuses the use of a lease that is lost, with an error of its own for each use. */
  #check(): void {
    this.#look();
    if (this.#reason !== undefined) {
      throw new LeaseLostError(this.#reason.message, { lease: this.id, cause: this.#reason.cause });
    }
  }

  /** Asks the core, in this very call, whether the lease is still held. */
  #look(): void {
    if (this.#reason !== undefined) return;
    if (this.#ended !== undefined) {
      const lease = this.id;
      const error = this.#ended.toError(Lease.end);
      this.#lose(
        error instanceof LeaseLostError
          ? error
          : new LeaseLostError(`lease ${lease} is lost: ${error.message}`, { lease, cause: error }),
      );
      return;
    }
    if (this.#part.session.leaseLeft(this.id) > 0) return;
    const why = this.#part.session.closed
      ? 'its client was closed'
      : 'its time to live passed without a keep-alive that the store confirmed; its keys are gone or about to go';
    this.#lose(new LeaseLostError(`lease ${this.id} is lost: ${why}`, { lease: this.id }));
  }

  #lose(reason: LeaseLostError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#resolve?.(reason);
    this.#aborts?.abort(reason);
  }
}

/** Grants a lease. */
export async function grantLease(
  part: Part,
  caller: Caller,
  options: LeaseOptions,
): Promise<Lease> {
  let lease: Lease | undefined;
  // The only reply after the first is the last: why the lease ended.
  const stream = new Stream((reply) => {
    if (lease !== undefined && reply instanceof Failure) Lease.end(lease, reply);
  });
  const first = refusing(caller, () => {
    checkNames(options, LEASE_OPTIONS, 'a lease takes an object, like { ttlMs: 10_000 }');
    const { ttlMs } = options;
    if (typeof ttlMs !== 'number') {
      throw new InvalidArgumentError(`ttlMs is a number; got ${describe(ttlMs)}`);
    }
    return part.session.open(
      {
        op: Op.lease,
        options,
        known: LEASE_OPTIONS,
        write: (frame) => {
          frame.f64(ttlMs);
        },
      },
      part.prefix,
      stream,
      (reply) => {
        // Made in the turn in which it is granted: its end may come in the same one.
        if (reply instanceof LeaseGranted) lease = new Lease(part, reply);
      },
    );
  });
  const reply = await first;
  if (reply instanceof Failure) throw reply.toError(caller);
  part.session.connected = true;
  if (lease === undefined) {
    const error = unexpected('lease');
    cutStack(error, caller);
    throw error;
  }
  return lease;
}
