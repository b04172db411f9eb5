import type { ClientConfig } from '../index.js';
import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';

/** A client's configuration as the core reads it. The core judges what it says. */
export function configJson(config: string | ClientConfig): string {
  const given: unknown = config;
  if (typeof given === 'string') return JSON.stringify({ address: given });
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
    // JSON has no NaN and no Infinity; the core refuses what stands for them here, with its name.
    return JSON.stringify(given, (_, value: unknown) =>
      typeof value === 'number' && !Number.isFinite(value) ? String(value) : value,
    );
  }
  throw new InvalidArgumentError(
    `a client takes an address, like 'file:./data', or { nodes: ['host:7447'] }; got ${describe(given)}`,
  );
}
