import {
  AlreadyExistsError,
  CancelledError,
  ClosedError,
  CompactedError,
  ConnectionError,
  CorruptionError,
  DeadlineExceededError,
  InternalError,
  InvalidArgumentError,
  KeyNotFoundError,
  LeaseLostError,
  LeaseNotFoundError,
  NoNodesAvailableError,
  NotFoundError,
  NotLeaderError,
  PermissionDeniedError,
  ResourceExhaustedError,
  RetryExhaustedError,
  UnauthenticatedError,
  UnavailableError,
  UnsupportedError,
  VectorDimensionMismatchError,
  VectorIndexExistsError,
  VectorIndexNotFoundError,
  VectorNotFoundError,
  VersionMismatchError,
} from './errors.js';
import type { NoriKVError } from './errors.js';
import { cutStack } from './stack.js';
import type { Caller } from './stack.js';
import { Version } from './version.js';

/** A field of an error, as it crosses from the core. */
export type Field = Uint8Array | Version | bigint | string;

// The numbers of the core's `FieldName`.
const FIELD = {
  key: 1,
  expected: 2,
  actual: 3,
  leaderHint: 4,
  shardId: 5,
  address: 6,
  timeoutMs: 7,
  attempts: 8,
  outcome: 9,
  compactVersion: 10,
  lease: 11,
} as const;

/** A failed call as it crosses from the core: data, which becomes an error where the caller's stack is at hand. */
export class Failure {
  constructor(
    private readonly kind: number,
    private readonly message: string,
    private readonly fields: ReadonlyMap<number, Field>,
    private readonly inner: Failure | undefined,
    private readonly abortReason?: { readonly reason: unknown },
  ) {}

  /** The same failure of a call whose signal fired: what the signal says is its cause. */
  abortedBy(signal: AbortSignal): Failure {
    const reason = { reason: signal.reason as unknown };
    return new Failure(this.kind, this.message, this.fields, this.inner, reason);
  }

  /** Whether it is the cancellation of a call. */
  isCancelled(): boolean {
    return this.kind === CANCELLED;
  }

  /** The error, with a stack that begins where `caller` was called. */
  toError(caller: Caller): NoriKVError {
    const error = this.build();
    cutStack(error, caller);
    return error;
  }

  /** The one map from the core's kinds to classes. */
  private build(): NoriKVError {
    const { message } = this;
    const outcome = this.text(FIELD.outcome) === 'unknown' ? ('unknown' as const) : undefined;
    const cause = this.abortReason?.reason ?? this.inner?.build();
    const details = { outcome, ...(cause === undefined ? {} : { cause }) };
    switch (this.kind) {
      case 1:
        return new KeyNotFoundError(message, { ...details, key: this.key() });
      case 2:
        return new VersionMismatchError(message, {
          ...details,
          key: this.key(),
          expected: this.version(FIELD.expected) ?? new Version(0n, 0n),
          actual: this.version(FIELD.actual),
        });
      case 3:
        return new AlreadyExistsError(message, {
          ...details,
          key: this.key(),
          actual: this.version(FIELD.actual),
        });
      case 4:
        return new InvalidArgumentError(message, details);
      case 5:
        return new NotLeaderError(message, {
          ...details,
          leaderHint: this.text(FIELD.leaderHint),
          shardId: this.number(FIELD.shardId),
        });
      case 6:
        return new UnavailableError(message, details);
      case 7:
        return new ConnectionError(message, { ...details, address: this.text(FIELD.address) });
      case 8:
        return new NoNodesAvailableError(message, details);
      case 9:
        return new DeadlineExceededError(message, {
          ...details,
          timeoutMs: this.number(FIELD.timeoutMs) ?? 0,
        });
      case 10:
        return new RetryExhaustedError(message, {
          ...details,
          attempts: this.number(FIELD.attempts) ?? 0,
        });
      case CANCELLED:
        return new CancelledError(message, details);
      case 12:
        return new ClosedError(message, details);
      case 13:
        return new UnauthenticatedError(message, details);
      case 14:
        return new PermissionDeniedError(message, details);
      case 15:
        return new ResourceExhaustedError(message, details);
      case 16:
        return new UnsupportedError(message, details);
      case 17:
        return new CompactedError(message, {
          ...details,
          compactVersion: this.version(FIELD.compactVersion),
        });
      case 18:
        return new LeaseNotFoundError(message, { ...details, lease: this.lease() });
      case 19:
        return new LeaseLostError(message, { ...details, lease: this.lease() });
      case 20:
        return new NotFoundError(message, details);
      case 21:
        return new VectorIndexNotFoundError(message, details);
      case 22:
        return new VectorIndexExistsError(message, details);
      case 23:
        return new VectorDimensionMismatchError(message, {
          ...details,
          expected: this.number(FIELD.expected) ?? 0,
          actual: this.number(FIELD.actual) ?? 0,
        });
      case 24:
        return new VectorNotFoundError(message, details);
      case 25:
        return new CorruptionError(message, details);
      default:
        return new InternalError(message, details);
    }
  }

  private key(): Uint8Array {
    const key = this.fields.get(FIELD.key);
    return key instanceof Uint8Array ? key : new Uint8Array();
  }

  private version(field: number): Version | null {
    const version = this.fields.get(field);
    return version instanceof Version ? version : null;
  }

  private lease(): bigint {
    const lease = this.fields.get(FIELD.lease);
    return typeof lease === 'bigint' ? lease : 0n;
  }

  private number(field: number): number | null {
    const number = this.fields.get(field);
    return typeof number === 'bigint' ? Number(number) : null;
  }

  private text(field: number): string | null {
    const text = this.fields.get(field);
    return typeof text === 'string' ? text : null;
  }
}

/** The core's number for a cancelled call. */
export const CANCELLED = 11;
