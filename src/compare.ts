import type { Compare as PublicCompare, CompareKey, Key, Relations, Value } from '../index.js';
import { describe, keyToBytes } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import { FrameWriter } from './frame.js';
import { comparedLease } from './leaseId.js';
import { writeVersion } from './range.js';
import { refusing } from './stack.js';
import type { Caller } from './stack.js';

// What a compare looks at and how, as in `crates/bridge/src/txn.rs`.
const TARGET = {
  value: 0,
  version: 1,
  createVersion: 2,
  generation: 3,
  lease: 4,
  exists: 5,
} as const;
const RELATION = {
  equals: 0,
  notEquals: 1,
  less: 2,
  lessOrEqual: 3,
  greater: 4,
  greaterOrEqual: 5,
} as const;

/** A condition, in the bytes of a frame: what it was made of may change, and be used again. */
export class Compare implements PublicCompare {
  readonly #bytes: Uint8Array;

  constructor(
    readonly target: PublicCompare['target'],
    readonly relation: PublicCompare['relation'],
    bytes: Uint8Array,
  ) {
    this.#bytes = bytes;
  }

  static write(frame: FrameWriter, compare: Compare): void {
    frame.raw(compare.#bytes);
  }
}

/** Writes what a target is compared with, and refuses what it cannot be. */
type Operand = (frame: FrameWriter, given: unknown) => void;

const OPERAND: Readonly<Record<keyof typeof TARGET, Operand>> = {
  value: (frame, given) => {
    frame.data(given as Value, 'a value');
  },
  version,
  createVersion: version,
  generation: (frame, given) => {
    if (!Number.isSafeInteger(given) || (given as number) < 0) {
      throw new InvalidArgumentError(
        `a generation is compared with a whole number from 0; got ${describe(given)}`,
      );
    }
    frame.u64(BigInt(given as number));
  },
  lease: (frame, given) => {
    frame.u64(comparedLease(given));
  },
  exists: (frame, given) => {
    if (typeof given !== 'boolean') {
      throw new InvalidArgumentError(
        `whether a key exists is compared with true or false; got ${describe(given)}`,
      );
    }
    frame.u8(given ? 1 : 0);
  },
};

function version(frame: FrameWriter, given: unknown): void {
  writeVersion(frame, given, 'what a version is compared with');
}

export function compare(key: Key): CompareKey {
  const bytes = refusing(compare, () => keyToBytes(key).slice());
  const relations = <T>(target: keyof typeof TARGET): Relations<T> => {
    const relation = (name: keyof typeof RELATION): ((to: T) => Compare) => {
      const make = (to: T): Compare => refusing(make as Caller, () => encode(target, name, to));
      return make;
    };
    const encode = (on: keyof typeof TARGET, name: keyof typeof RELATION, to: T): Compare => {
      const frame = new FrameWriter(64);
      frame.bytes(bytes);
      frame.u8(RELATION[name]);
      frame.u8(TARGET[on]);
      OPERAND[on](frame, to);
      return new Compare(on, name, frame.frame().slice());
    };
    return {
      equals: relation('equals'),
      notEquals: relation('notEquals'),
      less: relation('less'),
      lessOrEqual: relation('lessOrEqual'),
      greater: relation('greater'),
      greaterOrEqual: relation('greaterOrEqual'),
    };
  };
  const { equals, notEquals } = relations<boolean>('exists');
  return {
    value: relations('value'),
    version: relations('version'),
    createVersion: relations('createVersion'),
    generation: relations('generation'),
    lease: relations('lease'),
    exists: { equals, notEquals },
  };
}
