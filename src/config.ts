import type { ClientConfig } from '../index.js';
import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';

/** How long a call may take unless it says otherwise, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 5000;

/** How long a client's calls may take. The core judges what is configured. */
export function timeoutOf(config: string | ClientConfig): number {
  return (typeof config === 'string' ? undefined : config.timeout) ?? DEFAULT_TIMEOUT_MS;
}

/** A client's configuration as the core reads it. The core judges what it says. */
export function configJson(config: string | ClientConfig): string {
  const given: unknown = config;
  if (typeof given === 'string') return JSON.stringify({ address: given });
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
    return settingsJson(given);
  }
  throw new InvalidArgumentError(
    `a client takes an address, like 'file:./data', or { nodes: ['host:7447'] }; got ${describe(given)}`,
  );
}

/** Settings as JSON. What JSON has no word for stands there as text, which the core refuses with its name. */
export function settingsJson(settings: object): string {
  return JSON.stringify(settings, (_, value: unknown) => {
    switch (typeof value) {
      case 'number':
        return Number.isFinite(value) ? value : String(value);
      case 'bigint':
      case 'function':
      case 'symbol':
        return describe(value);
      default:
        return value;
    }
  });
}
