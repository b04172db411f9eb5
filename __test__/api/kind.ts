// What the suites know of a store, wherever they run.
import type { CommonConfig, NoriKVClient } from '@norikv/client';

/** A store of its own, empty, and gone with `close`. */
export interface TestStore {
  /** A client of it. */
  readonly client: NoriKVClient;
  /** The client of the whole store, where `client` is that of a part of it. */
  readonly whole?: NoriKVClient;
  /** Another client of the same data: over a connection of its own where there are connections. */
  another(): Promise<NoriKVClient>;
  /** A client of the same data, after the first was closed. */
  again(): Promise<NoriKVClient>;
  /** Closes its clients, and removes what is left. */
  close(): Promise<void>;
}

/** What holds of an engine, and not of each in the same way. */
export interface Rules {
  /** What times to live are counted in, in milliseconds: they are rounded up to whole ones. */
  readonly timeUnitMs: number;
  /** How long after its time an entry may be there, in milliseconds. */
  readonly lateMs: number;
  /** Whether events say why something is gone. */
  readonly reasons: boolean;
  /** Whether it has vectors. */
  readonly vectors: boolean;
  /** The most bytes that a transaction may write. */
  readonly maxTxnBytes: number;
}

/** A kind of store. */
export interface Kind extends Rules {
  readonly name: string;
  /** Where its data is. */
  readonly holds: 'memory' | 'file' | 'etcd';
  /** Whether calls go over a network. */
  readonly remote: boolean;
  /** Whether there is a NoriKV server, which tells who is in its cluster. */
  readonly served: boolean;
  /** Whether the client sees a part of its store only. */
  readonly part: boolean;
  /** How many bytes of each key the store takes for itself. */
  readonly prefixBytes: number;
  /** Whether a call takes long: for the `fsync` of each write, or for the `fetch` of each call in a browser. */
  readonly slow: boolean;
  open(settings?: CommonConfig): Promise<TestStore>;
}

/** The rules of the store that is ours. */
export const ours: Rules = {
  timeUnitMs: 1,
  lateMs: 500,
  reasons: true,
  vectors: true,
  maxTxnBytes: 5 * 1024 * 1024,
};
