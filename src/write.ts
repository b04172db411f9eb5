import type { DeleteOptions, Key, PutOptions, Value } from '../index.js';
import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import type { FrameWriter } from './frame.js';
import { leaseIdOf } from './leaseId.js';
import { checkVersion } from './range.js';

// Flags of writes, as in `crates/bridge/src/call.rs`.
const HAS_TTL = 1;
const IF_NOT_EXISTS = 2;
const HAS_IF_MATCH = 4;
const HAS_IDEMPOTENCY_KEY = 8;
const PREV_ENTRY = 16;
const HAS_LEASE = 32;

/** Writes a put's arguments. Types are checked here, values in the core. */
export function writePut(
  frame: FrameWriter,
  key: Key,
  value: Value,
  options: PutOptions | undefined,
): void {
  if (options === undefined) {
    frame.u8(0);
    frame.data(key, 'a key');
    frame.data(value, 'a value');
    return;
  }
  const { ttlMs, ifNotExists, ifMatchVersion, idempotencyKey, prevEntry, lease } = options;
  checkType(ttlMs, 'number', 'ttlMs');
  checkType(ifNotExists, 'boolean', 'ifNotExists');
  checkType(idempotencyKey, 'string', 'idempotencyKey');
  checkType(prevEntry, 'boolean', 'prevEntry');
  checkVersion(ifMatchVersion, 'ifMatchVersion');
  const leaseId = lease === undefined ? undefined : leaseIdOf(lease);
  frame.u8(
    (ttlMs === undefined ? 0 : HAS_TTL) |
      (ifNotExists === true ? IF_NOT_EXISTS : 0) |
      (ifMatchVersion === undefined ? 0 : HAS_IF_MATCH) |
      (idempotencyKey === undefined ? 0 : HAS_IDEMPOTENCY_KEY) |
      (prevEntry === true ? PREV_ENTRY : 0) |
      (leaseId === undefined ? 0 : HAS_LEASE),
  );
  frame.data(key, 'a key');
  frame.data(value, 'a value');
  if (ttlMs !== undefined) frame.f64(ttlMs);
  if (ifMatchVersion !== undefined) frame.version(ifMatchVersion);
  if (idempotencyKey !== undefined) frame.text(idempotencyKey);
  if (leaseId !== undefined) frame.u64(leaseId);
}

/** Writes a delete's arguments. */
export function writeDelete(
  frame: FrameWriter,
  key: Key,
  options: DeleteOptions | undefined,
): void {
  const { ifMatchVersion, idempotencyKey } = options ?? {};
  checkType(idempotencyKey, 'string', 'idempotencyKey');
  checkVersion(ifMatchVersion, 'ifMatchVersion');
  frame.u8(
    (ifMatchVersion === undefined ? 0 : HAS_IF_MATCH) |
      (idempotencyKey === undefined ? 0 : HAS_IDEMPOTENCY_KEY),
  );
  frame.data(key, 'a key');
  if (ifMatchVersion !== undefined) frame.version(ifMatchVersion);
  if (idempotencyKey !== undefined) frame.text(idempotencyKey);
}

/** @throws InvalidArgumentError unless it is of that type or left out. */
export function checkType(
  value: unknown,
  type: 'number' | 'boolean' | 'string',
  name: string,
): void {
  if (value !== undefined && typeof value !== type) {
    throw new InvalidArgumentError(`${name} is a ${type}; got ${describe(value)}`);
  }
}
