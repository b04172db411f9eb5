import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import { cutStack, refusing } from './stack.js';

const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** The version of a change: the incarnation of the store, and its revision. */
export class Version {
  readonly term: bigint;
  readonly index: bigint;

  constructor(term: bigint, index: bigint) {
    if (!isU64(term) || !isU64(index)) {
      const error = new InvalidArgumentError(
        `a version's term and index are bigints from 0 to 2^64 - 1; got ${describe(term)} and ${describe(index)}`,
      );
      cutStack(error, Version);
      throw error;
    }
    this.term = term;
    this.index = index;
  }

  equals(other: Version): boolean {
    return this.term === other.term && this.index === other.index;
  }

  compare(other: Version): number {
    const [a, b] = this.term === other.term ? [this.index, other.index] : [this.term, other.term];
    return a < b ? -1 : a > b ? 1 : 0;
  }

  toString(): string {
    return `${this.term.toString()}.${this.index.toString()}`;
  }

  toJSON(): string {
    return this.toString();
  }

  static parse(text: string): Version {
    const parts = typeof text === 'string' ? /^(\d{1,20})\.(\d{1,20})$/.exec(text) : null;
    if (parts?.[1] === undefined || parts[2] === undefined) {
      const error = new InvalidArgumentError(
        `a version is written "term.index", like "1.42"; got ${describe(text)}`,
      );
      cutStack(error, Version.parse);
      throw error;
    }
    const [, term, index] = parts;
    return refusing(Version.parse, () => new Version(BigInt(term), BigInt(index)));
  }
}

function isU64(value: unknown): boolean {
  return typeof value === 'bigint' && value >= 0n && value <= MAX_U64;
}
