import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import type { Entry } from '@norikv/client';
import { checkName, describe, partsOf } from './keys.js';

/** One instance of a service, and where it is. */
export interface Service {
  /** What it is an instance of: 1 to 256 bytes. */
  readonly name: string;
  /** Which one it is, among those of its name: 1 to 256 bytes. */
  readonly id: string;
  /** A host name or an IP address: 1 to 256 bytes. */
  readonly address: string;
  /** From 1 to 65,535. */
  readonly port: number;
  /** Whatever else there is to know. A `weight` is a number from 0: how much of the traffic it takes, where that matters. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

const FIELDS: readonly string[] = ['name', 'id', 'address', 'port', 'metadata'];

/** A copy of what a caller gave. @throws `InvalidArgumentError` if it is no service. */
export function checkService(given: unknown): Service {
  if (!isRecord(given)) {
    throw new InvalidArgumentError(
      `a service is an object, like { name, id, address, port }; got ${describe(given)}`,
    );
  }
  const unknown = Object.keys(given).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(
      `a service has no field ${describe(unknown)}; what else there is to know belongs into metadata`,
    );
  }
  const { port, metadata = {} } = given;
  const name = checkName(given.name, 'the name of a service');
  const id = checkName(given.id, 'the id of a service');
  const address = checkName(given.address, 'the address of a service');
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError(
      `a port is a whole number from 1 to 65535; got ${describe(port)}`,
    );
  }
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    const message = `the metadata of a service are an object of texts; got ${describe(metadata)}`;
    throw new InvalidArgumentError(message);
  }
  const copy: Readonly<Record<string, string>> = Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [key, String(value)]),
  );
  const service: Service = { name, id, address, port, metadata: copy };
  weightOf(service);
  return service;
}

/** How much of the traffic it takes: its metadata's `weight`, or 1. */
export function weightOf({ metadata = {} }: Service): number {
  if (!Object.hasOwn(metadata, 'weight')) return 1;
  const weight = metadata.weight ?? '';
  const number = Number(weight);
  if (weight.trim() === '' || !Number.isFinite(number) || number < 0) {
    const message = `the weight in a service's metadata is a number from 0; got ${describe(weight)}`;
    throw new InvalidArgumentError(message);
  }
  return number;
}

/** The value of an entry. @param by - Whose registration it is, and which write of it. */
export function encodeService({ address, port, metadata }: Service, by: string): string {
  return JSON.stringify({ address, port, metadata, by });
}

/** The service that an entry tells of, and whose registration it is. @throws `CorruptionError`. */
export function decodeService(entry: Entry): { readonly service: Service; readonly by: string } {
  const key = entry.keyText();
  try {
    const [name, id] = partsOf(key).slice(2);
    const found = entry.json();
    if (!isRecord(found) || typeof found.by !== 'string') {
      throw new InvalidArgumentError(`it is ${describe(found)}`);
    }
    const { address, port, metadata, by } = found;
    return { service: checkService({ name, id, address, port, metadata }), by };
  } catch (cause) {
    const message = `${describe(key)} is no service: ${cause instanceof Error ? cause.message : String(cause)}; it was not written by a registry, delete it`;
    throw new CorruptionError(message, { cause });
  }
}

/** Whether two tell the same. */
export function isSameService(one: Service, other: Service): boolean {
  return one.address === other.address && one.port === other.port && sorted(one) === sorted(other);
}

function sorted({ metadata = {} }: Service): string {
  return JSON.stringify(Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
