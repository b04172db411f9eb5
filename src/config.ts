import type { ClientConfig } from '../index.js';
import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import { FrameWriter } from './frame.js';

/** How long a call may take unless it says otherwise, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 5000;

/** How long a client's calls may take. The core judges what is configured. */
export function timeoutOf(config: string | ClientConfig): number {
  return (typeof config === 'string' ? undefined : config.timeout) ?? DEFAULT_TIMEOUT_MS;
}

/** What a setting's value is, in a frame of settings. `crates/bridge/src/config.rs` has the same table. */
const Kind = { text: 0, number: 1, boolean: 2, texts: 3, other: 4 } as const;

/** A client's configuration as the core reads it. The core judges what it says. */
export function configFrame(config: string | ClientConfig): Uint8Array {
  const given: unknown = config;
  const settings = typeof given === 'string' ? { address: given } : given;
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new InvalidArgumentError(
      `a client takes an address, like 'file:./data', or { nodes: ['host:7447'] }; got ${describe(given)}`,
    );
  }
  const frame = new FrameWriter();
  writeSettings(frame, settings, '');
  return frame.frame();
}

/** Writes each setting that is given: its name, what its value is, and the value. */
function writeSettings(frame: FrameWriter, settings: object, group: string): void {
  for (const [name, value] of Object.entries(settings) as [string, unknown][]) {
    if (value === undefined || value === null) continue;
    if (name === 'retry' && Object.prototype.toString.call(value) === '[object Object]') {
      writeSettings(frame, value, `${name}.`);
      continue;
    }
    frame.text(group + name);
    if (typeof value === 'string') {
      frame.u8(Kind.text);
      frame.text(value);
    } else if (typeof value === 'number') {
      frame.u8(Kind.number);
      frame.f64(value);
    } else if (typeof value === 'boolean') {
      frame.u8(Kind.boolean);
      frame.u8(Number(value));
    } else if (Array.isArray(value) && value.every((one) => typeof one === 'string')) {
      frame.u8(Kind.texts);
      frame.u32(value.length);
      for (const text of value) frame.text(text);
    } else {
      frame.u8(Kind.other);
      frame.text(describe(value));
    }
  }
}
