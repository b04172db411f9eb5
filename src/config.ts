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
const Kind = { text: 0, number: 1, boolean: 2, texts: 3, other: 4, bytes: 5 } as const;

/** The settings that are objects. */
const NESTED = ['retry', 'tls', 'etcd'];

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
  writeSettings(frame, settings);
  return frame.frame();
}

/** Writes the settings that are given; those within an object each under a name of its own, after that of the object. */
function writeSettings(frame: FrameWriter, settings: object): void {
  for (const [name, value] of Object.entries(settings) as [string, unknown][]) {
    if (NESTED.includes(name) && Object.prototype.toString.call(value) === '[object Object]') {
      // That there is one says something, also with nothing in it.
      if (name !== 'retry') writeSetting(frame, `${name}.`, true);
      for (const [inner, setting] of Object.entries(value as object) as [string, unknown][]) {
        writeSetting(frame, `${name}.${inner}`, setting);
      }
    } else if (name.includes('.')) {
      throw new InvalidArgumentError(
        `the client's configuration is wrong: ${JSON.stringify(name)} is no setting; those of ${NESTED.join(', ')} are in an object`,
      );
    } else {
      writeSetting(frame, name, value);
    }
  }
}

/** Writes a setting that is given: its name, what its value is, and the value. */
function writeSetting(frame: FrameWriter, name: string, value: unknown): void {
  if (value === undefined || value === null) return;
  frame.text(name);
  if (typeof value === 'string') {
    frame.u8(Kind.text);
    frame.text(value);
  } else if (typeof value === 'number') {
    frame.u8(Kind.number);
    frame.f64(value);
  } else if (typeof value === 'boolean') {
    frame.u8(Kind.boolean);
    frame.u8(Number(value));
  } else if (value instanceof Uint8Array) {
    frame.u8(Kind.bytes);
    frame.bytes(value);
  } else if (isTexts(value)) {
    frame.u8(Kind.texts);
    frame.u32(value.length);
    for (const text of value) frame.text(text);
  } else {
    frame.u8(Kind.other);
    frame.text(describe(value));
  }
}

/** Whether it is an array of strings, without holes, which `every` passes over. */
function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && Array.from(value).every((one) => typeof one === 'string');
}
