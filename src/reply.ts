import type { ClusterView, Status } from '../index.js';
import { bytesToString } from './bytes.js';
import { readClusterView, readStatus } from './cluster.js';
import { Entry } from './entry.js';
import { InternalError } from './errors.js';
import { Failure } from './failure.js';
import type { Field } from './failure.js';
import { readIndexes, readResults, readVector } from './vectorReply.js';
import type { VectorIndexes, VectorResults } from './vectorReply.js';
import { Version } from './version.js';

/** What a reply says. `crates/bridge/src/reply.rs` has the same table. */
const Tag = {
  done: 0,
  error: 1,
  entry: 2,
  missing: 3,
  version: 4,
  versionAndEntry: 5,
  boolean: 6,
  number: 7,
  entries: 8,
  page: 9,
  status: 10,
  txn: 11,
  lease: 12,
  leaseStatus: 13,
  watching: 14,
  batches: 15,
  clusterView: 16,
  vector: 17,
  vectorResults: 18,
  vectorIndexes: 19,
} as const;

const HAS_LEASE = 1;
const HAS_EXPIRY = 2;

/** One page of a scan. */
export class Page {
  constructor(
    readonly entries: Entry[],
    readonly version: Version,
    readonly more: boolean,
  ) {}
}

/** A write's version, and the entry that was there before. */
export class VersionAndEntry {
  constructor(
    readonly version: Version,
    readonly entry: Entry | null,
  ) {}
}

/** What a store says of itself. */
export class StatusReply {
  constructor(readonly status: Status) {}
}

/** A view of the cluster. */
export class ViewReply {
  constructor(readonly view: ClusterView) {}
}

/** What a transaction is answered with. */
export class TxnReply {
  constructor(
    readonly succeeded: boolean,
    readonly version: Version,
    readonly results: readonly unknown[],
  ) {}
}

/** A lease that was granted. */
export class LeaseGranted {
  constructor(
    readonly id: bigint,
    readonly ttlMs: number,
  ) {}
}

/** How long a lease has left. */
export class LeaseTimes {
  constructor(
    readonly grantedMs: number,
    readonly remainingMs: number,
    readonly keys: readonly Uint8Array[],
  ) {}
}

/** Batches of watches, in bytes that all of them share and none of them changes. */
export class Batches {
  constructor(
    readonly ids: readonly number[],
    private readonly bytes: Uint8Array,
  ) {}

  /** A reader of its own for each watch. */
  reader(): ReplyReader {
    return new ReplyReader(this.bytes);
  }
}

/** What a call is answered with. `undefined`: it is done; `null`: the key is missing. */
export type Reply =
  | undefined
  | null
  | Failure
  | Entry
  | Version
  | VersionAndEntry
  | boolean
  | number
  | (Entry | null)[]
  | Page
  | StatusReply
  | ViewReply
  | TxnReply
  | LeaseGranted
  | LeaseTimes
  | Float32Array
  | VectorResults
  | VectorIndexes
  | Batches;

/** The key or keys of a call, which its reply does not repeat. */
export type Asked = string | Uint8Array | readonly (string | Uint8Array)[] | undefined;

/** Reads replies. Everything is copied out, so that no value pins, or changes with, a shared buffer. */
export class ReplyReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #end: number;
  /** The version that was read last, and where. */
  #last: Version | undefined;
  #lastAt = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = bytes.length;
  }

  /** Begins again at the front, for a buffer that is written to again. */
  rewind(): this {
    this.#at = 0;
    this.#last = undefined;
    this.#end = this.#bytes.length;
    return this;
  }

  get hasMore(): boolean {
    return this.#at < this.#end;
  }

  u8(): number {
    return this.#bytes[this.#at++] ?? 0;
  }

  u32(): number {
    const number = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return number;
  }

  u64(): bigint {
    const number = this.#view.getBigUint64(this.#at, true);
    this.#at += 8;
    return number;
  }

  /** A 64-bit number that is known to be below 2^53. */
  safe(): number {
    const low = this.#view.getUint32(this.#at, true);
    const high = this.#view.getUint32(this.#at + 4, true);
    this.#at += 8;
    return high * 0x1_0000_0000 + low;
  }

  f64(): number {
    const number = this.#view.getFloat64(this.#at, true);
    this.#at += 8;
    return number;
  }

  bytes(): Uint8Array {
    const length = this.u32();
    const start = this.#at;
    this.#at = start + length;
    return this.#bytes.slice(start, this.#at);
  }

  text(): string {
    const length = this.u32();
    const start = this.#at;
    this.#at = start + length;
    return bytesToString(this.#bytes.subarray(start, this.#at));
  }

  /** A version. Where the one before is the same, as within a batch of a watch, it is that object. */
  version(): Version {
    const at = this.#at;
    const last = this.#last;
    if (last !== undefined && this.#same(at, this.#lastAt)) {
      this.#at = at + 16;
      return last;
    }
    const version = new Version(this.u64(), this.u64());
    this.#last = version;
    this.#lastAt = at;
    return version;
  }

  /** Whether the 16 bytes at two places are equal. */
  #same(a: number, b: number): boolean {
    const view = this.#view;
    return (
      view.getUint32(a + 8, true) === view.getUint32(b + 8, true) &&
      view.getUint32(a, true) === view.getUint32(b, true) &&
      view.getUint32(a + 12, true) === view.getUint32(b + 12, true) &&
      view.getUint32(a + 4, true) === view.getUint32(b + 4, true)
    );
  }

  /** The reply to a call that asked for `asked`. */
  reply(asked: Asked): Reply {
    const tag = this.u8();
    switch (tag) {
      case Tag.done:
        return undefined;
      case Tag.error:
        return this.failure();
      case Tag.entry:
        return this.entry(oneOf(asked));
      case Tag.missing:
        return null;
      case Tag.version:
      case Tag.watching:
        return this.version();
      case Tag.versionAndEntry: {
        const version = this.version();
        return new VersionAndEntry(version, this.maybeEntry(oneOf(asked)));
      }
      case Tag.boolean:
        return this.u8() === 1;
      case Tag.number:
        return this.safe();
      case Tag.entries: {
        const keys = Array.isArray(asked) ? (asked as readonly (string | Uint8Array)[]) : [];
        return Array.from({ length: this.u32() }, (_, at) => this.maybeEntry(keys[at] ?? ''));
      }
      case Tag.page:
        return this.page();
      case Tag.status:
        return new StatusReply(readStatus(this));
      case Tag.clusterView:
        return new ViewReply(readClusterView(this));
      case Tag.txn:
        return this.txn();
      case Tag.lease:
        return new LeaseGranted(this.u64(), this.safe());
      case Tag.leaseStatus:
        return new LeaseTimes(
          this.safe(),
          this.safe(),
          this.list(() => this.bytes()),
        );
      case Tag.vector:
        return readVector(this);
      case Tag.vectorResults:
        return readResults(this);
      case Tag.vectorIndexes:
        return readIndexes(this);
      case Tag.batches:
        return new Batches(
          this.list(() => this.u32()),
          this.bytes(),
        );
      default:
        throw new InternalError(`the core sent a reply of unknown kind ${tag}`);
    }
  }

  maybeEntry(key: string | Uint8Array): Entry | null {
    return this.u8() === Tag.entry ? this.entry(key) : null;
  }

  entry(key: string | Uint8Array): Entry {
    const flags = this.u8();
    const version = this.version();
    const createVersion = this.version();
    const generation = this.safe();
    const lease = flags & HAS_LEASE ? this.u64() : null;
    const expiresAt = flags & HAS_EXPIRY ? this.safe() : null;
    return new Entry(key, this.bytes(), version, createVersion, generation, lease, expiresAt);
  }

  page(): Page {
    const version = this.version();
    const more = this.u8() === 1;
    const length = this.u32();
    const entries = Array.from({ length }, () => this.entry(this.bytes()));
    return new Page(entries, version, more);
  }

  /** What comes after its number. */
  list<T>(one: () => T): T[] {
    return Array.from({ length: this.u32() }, one);
  }

  txn(): TxnReply {
    const succeeded = this.u8() === 1;
    const version = this.version();
    return new TxnReply(
      succeeded,
      version,
      this.list(() => this.opResult()),
    );
  }

  opResult(): unknown {
    const tag = this.u8();
    switch (tag) {
      case Tag.versionAndEntry: {
        const version = this.version();
        const prevEntry = this.u8() === Tag.entry ? this.entry(this.bytes()) : null;
        return { version, prevEntry };
      }
      case Tag.version:
        return this.version();
      case Tag.boolean:
        return this.u8() === 1;
      case Tag.number:
        return this.safe();
      case Tag.entry:
        return this.entry(this.bytes());
      case Tag.missing:
        return null;
      case Tag.page:
        return this.page().entries;
      default:
        throw new InternalError(`the core sent an op's result of unknown kind ${tag}`);
    }
  }

  failure(): Failure {
    const kind = this.u8();
    const message = this.text();
    const fields = new Map<number, Field>();
    for (let left = this.u8(); left > 0; left--) fields.set(this.u8(), this.field());
    const inner = this.u8() === 1 ? this.failure() : undefined;
    return new Failure(kind, message, fields, inner);
  }

  field(): Field {
    switch (this.u8()) {
      case 0:
        return this.bytes();
      case 1:
        return this.version();
      case 2:
        return this.u64();
      default:
        return this.text();
    }
  }
}

function oneOf(asked: Asked): string | Uint8Array {
  return typeof asked === 'string' || asked instanceof Uint8Array ? asked : '';
}
