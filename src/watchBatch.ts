import type { WatchBatch, WatchEvent } from '../index.js';
import type { ReplyReader } from './reply.js';

// Flags of events, as in `crates/bridge/src/reply.rs`.
const IS_DELETE = 1;
const HAS_PREV_ENTRY = 2;
const IS_EXPIRED = 4;
const IS_OF_LEASE = 8;

/** The next batch of a watch. */
export function readBatch(reader: ReplyReader): WatchBatch {
  const version = reader.version();
  const events: WatchEvent[] = [];
  for (let left = reader.u32(); left > 0; left--) events.push(readEvent(reader));
  return { version, events };
}

function readEvent(reader: ReplyReader): WatchEvent {
  const flags = reader.u8();
  const key = reader.bytes();
  const entry = reader.entry(key);
  const type = flags & IS_DELETE ? 'delete' : 'put';
  const reason = flags & IS_EXPIRED ? 'expired' : flags & IS_OF_LEASE ? 'lease' : 'write';
  if ((flags & HAS_PREV_ENTRY) === 0) return { type, entry, reason };
  return { type, entry, prevEntry: reader.entry(key), reason };
}
