import type { Key, PutOptions, PutResult, Value } from '../index.js';
import { Op } from './frame.js';
import { PUT_OPTIONS } from './names.js';
import type { Part } from './part.js';
import { VersionAndEntry } from './reply.js';
import { ownKey } from './bytes.js';
import { refusing } from './stack.js';
import type { Caller } from './stack.js';
import { Version } from './version.js';
import { writePut } from './write.js';
import { unexpected } from './unexpected.js';

/** Writes one key. */
export async function put(
  part: Part,
  caller: Caller,
  key: Key,
  value: Value,
  options: PutOptions | undefined,
): Promise<Version | PutResult> {
  const reply = await part.call(caller, {
    op: Op.put,
    writes: true,
    options,
    known: PUT_OPTIONS,
    asked: options?.prevEntry === true ? refusing(caller, () => ownKey(key)) : key,
    write: (frame) => {
      writePut(frame, key, value, options);
    },
  });
  if (reply instanceof Version) return reply;
  if (reply instanceof VersionAndEntry) return { version: reply.version, prevEntry: reply.entry };
  throw unexpected('put');
}
