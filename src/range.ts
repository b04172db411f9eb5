import type { KeyRange, WatchRange } from '../index.js';
import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import type { FrameWriter } from './frame.js';
import { checkNames } from './names.js';
import { Version } from './version.js';

// Flags of ranges, as in `crates/bridge/src/call.rs`.
const HAS_END = 1;
const IS_PREFIX = 2;
export const REVERSE = 4;
export const KEYS_ONLY = 8;
const HAS_VERSION = 16;
const HAS_AFTER = 32;
const IS_KEY = 64;

const NAMES: ReadonlySet<string> = new Set(['prefix', 'start', 'end']);
const WATCH_NAMES: ReadonlySet<string> = new Set(['key', ...NAMES]);

/**
 * Checks a range that is about to be deleted. One without bounds is everything, as for every call, but is more often
 * a bound that turned out `undefined`: to delete everything has to be said.
 *
 * @throws InvalidArgumentError unless it says at least one bound.
 */
export function checkBounded(range: KeyRange): void {
  checkNames(range, NAMES, RANGE);
  if (range.prefix === undefined && range.start === undefined && range.end === undefined) {
    throw new InvalidArgumentError(
      "deleteRange needs a prefix, a start or an end, and has none; to delete every key, say { prefix: '' }",
    );
  }
}

/** What a range is, for an error's message. */
const RANGE = 'a range is { prefix } or { start, end }';

/** Writes a range, its flags, the version to read it at, and the last key of the page before. */
export function writeRange(
  frame: FrameWriter,
  range: KeyRange,
  flags = 0,
  version?: Version,
  after?: Uint8Array,
): void {
  checkNames(range, NAMES, RANGE);
  const { prefix, start, end } = range;
  if (prefix !== undefined && (start !== undefined || end !== undefined)) {
    throw new InvalidArgumentError('a range has either a prefix, or a start and an end: not both');
  }
  checkVersion(version, 'version');
  const present =
    flags | (version === undefined ? 0 : HAS_VERSION) | (after === undefined ? 0 : HAS_AFTER);
  if (prefix !== undefined) {
    frame.u8(present | IS_PREFIX);
    frame.data(prefix, 'a prefix');
  } else {
    frame.u8(present | (end === undefined ? 0 : HAS_END));
    const { start = '' } = range;
    frame.data(start, "a range's start");
    if (end !== undefined) frame.data(end, "a range's end");
  }
  if (version !== undefined) frame.version(version);
  if (after !== undefined) frame.bytes(after);
}

/** Writes what a watch follows, one key or a range, and the version it begins with. */
export function writeWatchRange(frame: FrameWriter, range: WatchRange, from?: Version): void {
  checkNames(range, WATCH_NAMES, 'a watch is of { key }, { prefix } or { start, end }');
  const { key, prefix, start, end } = range;
  checkVersion(from, 'fromVersion');
  if (key === undefined) {
    writeRange(frame, { prefix, start, end }, 0, from);
    return;
  }
  if (prefix !== undefined || start !== undefined || end !== undefined) {
    throw new InvalidArgumentError('a watch is of a key or of a range: not both');
  }
  frame.u8(IS_KEY | (from === undefined ? 0 : HAS_VERSION));
  frame.data(key, 'a key');
  if (from !== undefined) frame.version(from);
}

/** @throws InvalidArgumentError unless it is a version or left out. */
export function checkVersion(given: unknown, name: string): asserts given is Version | undefined {
  if (given !== undefined && !(given instanceof Version)) {
    throw new InvalidArgumentError(
      `${name} is a Version, as put() answers it or Version.parse() makes it; got ${describe(given)}`,
    );
  }
}

/** Writes a version that has to be there. */
export function writeVersion(frame: FrameWriter, version: unknown, name: string): void {
  // What is left out has no version either.
  checkVersion(version ?? null, name);
  frame.version(version as Version);
}
