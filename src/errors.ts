import type { ErrorCode } from '../index.js';
import type { Version } from './version.js';

/** What may be said of any error beside its message. */
interface Details {
  readonly cause?: unknown;
  readonly outcome?: 'unknown' | undefined;
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'NOT_LEADER',
  'UNAVAILABLE',
  'CONNECTION',
  'NO_NODES_AVAILABLE',
  'DEADLINE_EXCEEDED',
  'RESOURCE_EXHAUSTED',
]);

export class NoriKVError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  declare readonly outcome?: 'unknown';

  constructor(code: ErrorCode, message: string, details: Details = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    // On the prototype's chain `name` is the class's; as an own property it would be in every print.
    Object.defineProperty(this, 'name', {
      value: new.target.name,
      configurable: true,
      writable: true,
    });
    this.code = code;
    this.retryable = RETRYABLE.has(code);
    if (details.outcome !== undefined) this.outcome = details.outcome;
  }
}

export class KeyNotFoundError extends NoriKVError {
  readonly key: Uint8Array;

  constructor(message: string, details: Details & { readonly key: Uint8Array }) {
    super('KEY_NOT_FOUND', message, details);
    this.key = details.key;
  }
}

export class VersionMismatchError extends NoriKVError {
  readonly key: Uint8Array;
  readonly expected: Version;
  readonly actual: Version | null;

  constructor(
    message: string,
    details: Details & {
      readonly key: Uint8Array;
      readonly expected: Version;
      readonly actual: Version | null;
    },
  ) {
    super('VERSION_MISMATCH', message, details);
    this.key = details.key;
    this.expected = details.expected;
    this.actual = details.actual;
  }
}

export class AlreadyExistsError extends NoriKVError {
  readonly key: Uint8Array;
  readonly actual: Version | null;

  constructor(
    message: string,
    details: Details & { readonly key: Uint8Array; readonly actual: Version | null },
  ) {
    super('ALREADY_EXISTS', message, details);
    this.key = details.key;
    this.actual = details.actual;
  }
}

export class InvalidArgumentError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('INVALID_ARGUMENT', message, details);
  }
}

export class NotLeaderError extends NoriKVError {
  readonly leaderHint: string | null;
  readonly shardId: number | null;

  constructor(
    message: string,
    details: Details & { readonly leaderHint: string | null; readonly shardId: number | null },
  ) {
    super('NOT_LEADER', message, details);
    this.leaderHint = details.leaderHint;
    this.shardId = details.shardId;
  }
}

export class UnavailableError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('UNAVAILABLE', message, details);
  }
}

export class ConnectionError extends NoriKVError {
  readonly address: string | null;

  constructor(message: string, details: Details & { readonly address: string | null }) {
    super('CONNECTION', message, details);
    this.address = details.address;
  }
}

export class NoNodesAvailableError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('NO_NODES_AVAILABLE', message, details);
  }
}

export class DeadlineExceededError extends NoriKVError {
  readonly timeoutMs: number;

  constructor(message: string, details: Details & { readonly timeoutMs: number }) {
    super('DEADLINE_EXCEEDED', message, details);
    this.timeoutMs = details.timeoutMs;
  }
}

export class RetryExhaustedError extends NoriKVError {
  readonly attempts: number;

  constructor(message: string, details: Details & { readonly attempts: number }) {
    super('RETRY_EXHAUSTED', message, details);
    this.attempts = details.attempts;
  }
}

export class CancelledError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('CANCELLED', message, details);
    Object.defineProperty(this, 'name', {
      value: 'AbortError',
      configurable: true,
      writable: true,
    });
  }
}

export class ClosedError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('CLOSED', message, details);
  }
}

export class UnauthenticatedError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('UNAUTHENTICATED', message, details);
  }
}

export class PermissionDeniedError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('PERMISSION_DENIED', message, details);
  }
}

export class ResourceExhaustedError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('RESOURCE_EXHAUSTED', message, details);
  }
}

export class UnsupportedError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('UNSUPPORTED', message, details);
  }
}

export class CompactedError extends NoriKVError {
  readonly compactVersion: Version | null;

  constructor(message: string, details: Details & { readonly compactVersion: Version | null }) {
    super('COMPACTED', message, details);
    this.compactVersion = details.compactVersion;
  }
}

export class LeaseNotFoundError extends NoriKVError {
  readonly lease: bigint;

  constructor(message: string, details: Details & { readonly lease: bigint }) {
    super('LEASE_NOT_FOUND', message, details);
    this.lease = details.lease;
  }
}

export class LeaseLostError extends NoriKVError {
  readonly lease: bigint;

  constructor(message: string, details: Details & { readonly lease: bigint }) {
    super('LEASE_LOST', message, details);
    this.lease = details.lease;
  }
}

export class NotFoundError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('NOT_FOUND', message, details);
  }
}

export class VectorIndexNotFoundError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('VECTOR_INDEX_NOT_FOUND', message, details);
  }
}

export class VectorIndexExistsError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('VECTOR_INDEX_EXISTS', message, details);
  }
}

export class VectorDimensionMismatchError extends NoriKVError {
  readonly expected: number;
  readonly actual: number;

  constructor(
    message: string,
    details: Details & { readonly expected: number; readonly actual: number },
  ) {
    super('VECTOR_DIMENSION_MISMATCH', message, details);
    this.expected = details.expected;
    this.actual = details.actual;
  }
}

export class VectorNotFoundError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('VECTOR_NOT_FOUND', message, details);
  }
}

export class CorruptionError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('CORRUPTION', message, details);
  }
}

export class InternalError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('INTERNAL', message, details);
  }
}

export class EphemeralServerError extends NoriKVError {
  constructor(message: string, details?: Details) {
    super('UNAVAILABLE', message, details);
  }
}
