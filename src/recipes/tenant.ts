import { InvalidArgumentError, NoriKVError } from '@norikv/client';
import type { Entry } from '@norikv/client';
import { corrupt, fromJson, isRecord } from './json.js';
import { describe, keyOf, prefixOf } from './keys.js';

/** What a tenant may have at most. */
export interface TenantLimits {
  /** How many keys; `Infinity` for as many as there is room for. */
  readonly maxKeys: number;
  /** How much its keys and values may have together, in units of 1,048,576 bytes; `Infinity` for no limit. */
  readonly maxStorageMB: number;
}

/** A tenant, as it is stored. */
export interface TenantMetadata {
  readonly id: string;
  /** What people call it. */
  readonly name: string;
  /** The name of its plan. */
  readonly plan: string;
  /** When it was created, in milliseconds since the Unix epoch. */
  readonly createdAt: number;
  /** What it may have: those of the plan, as they were when it was given to it. */
  readonly limits: TenantLimits;
  /** Whether it is shut out for now. */
  readonly suspended: boolean;
}

/** What a tenant has, at least as much as it really has: what expired may still be counted. */
export interface TenantUsage {
  readonly keys: number;
  /** Of keys and values together. */
  readonly bytes: number;
}

/** A write would give the tenant more than its plan allows. Nothing was written. Its `code` is `RESOURCE_EXHAUSTED`. */
export class TenantLimitError extends NoriKVError {
  /** The tenant. */
  readonly tenantId: string;
  /** Which limit. */
  readonly limit: 'maxKeys' | 'maxStorageMB';
  /** What it allows: keys, or bytes. */
  readonly allowed: number;
  /** What the tenant has without the write: keys, or bytes. */
  readonly used: number;

  /** The tenant's client makes it; make one of your own to test what handles it. */
  constructor(tenantId: string, limit: TenantLimitError['limit'], allowed: number, used: number) {
    const unit = limit === 'maxKeys' ? 'keys' : 'bytes';
    const message = `tenant ${describe(tenantId)} has ${used} of the ${allowed} ${unit} that ${limit} allows, and the write needs more; delete something, or give it a larger plan`;
    super('RESOURCE_EXHAUSTED', message);
    this.tenantId = tenantId;
    this.limit = limit;
    this.allowed = allowed;
    this.used = used;
  }
}

/** What `maxStorageMB` counts in. */
export const MEGABYTE = 1_048_576;

/** What the metadata of all tenants begins with. */
export const TENANTS = prefixOf('tenant-meta');

/** The key of a tenant's metadata. */
export function tenantKey(id: string): string {
  return keyOf('tenant-meta', id);
}

/** The key of what a tenant has. */
export function usageKey(id: string): string {
  return keyOf('tenant-usage', id);
}

/** What the keys of a tenant's data begin with. */
export function dataPrefix(id: string): string {
  return prefixOf('tenant', id);
}

/** Limits as they were given. @throws `InvalidArgumentError`. */
export function checkLimits(limits: unknown, what: string): TenantLimits {
  if (!isRecord(limits)) {
    throw new InvalidArgumentError(`${what} is { maxKeys, maxStorageMB }; got ${describe(limits)}`);
  }
  const { maxKeys, maxStorageMB } = limits;
  for (const [name, value] of Object.entries(limits)) {
    if (name !== 'maxKeys' && name !== 'maxStorageMB') {
      throw new InvalidArgumentError(
        `${what} is { maxKeys, maxStorageMB }, and has ${describe(name)}`,
      );
    }
    if (typeof value === 'number' && value >= 0) continue;
    throw new InvalidArgumentError(
      `${name} of ${what} is a number from 0 to Infinity; got ${describe(value)}`,
    );
  }
  if (typeof maxKeys !== 'number' || typeof maxStorageMB !== 'number') {
    throw new InvalidArgumentError(`${what} has both maxKeys and maxStorageMB`);
  }
  return { maxKeys, maxStorageMB };
}

/** Whether nothing of a tenant needs to be counted. */
export function isUnlimited({ maxKeys, maxStorageMB }: TenantLimits): boolean {
  return maxKeys === Infinity && maxStorageMB === Infinity;
}

/** A tenant as it is stored. `by` is of whoever wrote it: no two writes are the same. */
export function tenantJson(tenant: TenantMetadata, by: string): string {
  // JSON has no Infinity, and writes null.
  return JSON.stringify({ ...tenant, by });
}

/** The tenant of an entry. @throws `CorruptionError` if it is none. */
export function tenantOf(entry: Entry): TenantMetadata {
  const found = fromJson(entry);
  if (!isRecord(found) || !isRecord(found.limits)) throw corrupt(entry, 'it is not a tenant');
  const { id, name, plan, createdAt, suspended, limits } = found;
  const [maxKeys, maxStorageMB] = [limitOf(limits.maxKeys), limitOf(limits.maxStorageMB)];
  if (
    typeof id !== 'string' ||
    tenantKey(id) !== entry.keyText() ||
    typeof name !== 'string' ||
    typeof plan !== 'string' ||
    typeof createdAt !== 'number' ||
    typeof suspended !== 'boolean' ||
    maxKeys === undefined ||
    maxStorageMB === undefined
  ) {
    throw corrupt(entry, 'it is not a tenant');
  }
  return { id, name, plan, createdAt, limits: { maxKeys, maxStorageMB }, suspended };
}

function limitOf(stored: unknown): number | undefined {
  if (stored === null) return Infinity;
  return typeof stored === 'number' && stored >= 0 ? stored : undefined;
}
