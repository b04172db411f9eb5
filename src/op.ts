import type {
  Key,
  KeyRange,
  OpDeleteOptions,
  OpPutOptions,
  OpScanOptions,
  TxnOp as PublicTxnOp,
  Value,
} from '../index.js';
import { FrameWriter, Op } from './frame.js';
import {
  OP_DELETE_OPTIONS,
  OP_PUT_OPTIONS,
  OP_SCAN_OPTIONS,
  checkNames,
  checkOptions,
} from './names.js';
import { checkBounded, writeRange } from './range.js';
import { writeScan } from './scan.js';
import { refusing } from './stack.js';
import type { Caller } from './stack.js';
import { writeDelete, writePut } from './write.js';

type OpType = PublicTxnOp['type'];

/** A step of a transaction, in the bytes of a frame: what it was made of may change, and be used again. */
export class TxnOp<T extends OpType = OpType, P extends boolean = boolean> implements PublicTxnOp<
  T,
  P
> {
  readonly #bytes: Uint8Array;

  constructor(
    readonly type: T,
    readonly prevEntry: P,
    bytes: Uint8Array,
  ) {
    this.#bytes = bytes;
  }

  static write(frame: FrameWriter, op: TxnOp): void {
    frame.raw(op.#bytes);
  }
}

/** Bad input is refused where the op is made, with the stack of that. */
function encode(caller: Caller, type: OpType, write: (frame: FrameWriter) => void): Uint8Array {
  return refusing(caller, () => {
    const frame = new FrameWriter(64);
    frame.u8(Op[type]);
    write(frame);
    return frame.frame().slice();
  });
}

function put(
  key: Key,
  value: Value,
  options: OpPutOptions & { readonly prevEntry: true },
): TxnOp<'put', true>;
function put(
  key: Key,
  value: Value,
  options?: OpPutOptions & { readonly prevEntry?: false },
): TxnOp<'put', false>;
function put(key: Key, value: Value, options?: OpPutOptions): TxnOp<'put'>;
function put(key: Key, value: Value, options?: OpPutOptions): TxnOp<'put'> {
  const bytes = encode(put, 'put', (frame) => {
    checkOptions(options, OP_PUT_OPTIONS);
    writePut(frame, key, value, options);
  });
  return new TxnOp('put', options?.prevEntry === true, bytes);
}

function get(key: Key): TxnOp<'get', false> {
  const bytes = encode(get, 'get', (frame) => {
    frame.u8(0);
    frame.data(key, 'a key');
  });
  return new TxnOp('get', false, bytes);
}

function deleteKey(key: Key, options?: OpDeleteOptions): TxnOp<'delete', false> {
  const bytes = encode(deleteKey, 'delete', (frame) => {
    checkOptions(options, OP_DELETE_OPTIONS);
    writeDelete(frame, key, options);
  });
  return new TxnOp('delete', false, bytes);
}

function deleteRange(range: KeyRange): TxnOp<'deleteRange', false> {
  const bytes = encode(deleteRange, 'deleteRange', (frame) => {
    checkBounded(range);
    writeRange(frame, range);
  });
  return new TxnOp('deleteRange', false, bytes);
}

function scan(options: OpScanOptions = {}): TxnOp<'scan', false> {
  const bytes = encode(scan, 'scan', (frame) => {
    checkNames(options, OP_SCAN_OPTIONS, 'what to scan is an object, like { prefix: "user:" }');
    writeScan(frame, options);
  });
  return new TxnOp('scan', false, bytes);
}

export const op = { put, get, delete: deleteKey, deleteRange, scan } as const;
