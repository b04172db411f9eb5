import type {
  CallOptions,
  Compare as PublicCompare,
  Txn as PublicTxn,
  TxnOp as PublicTxnOp,
  TxnOpResults,
  TxnResult,
} from '../index.js';
import { describe } from './bytes.js';
import { Compare } from './compare.js';
import { InvalidArgumentError } from './errors.js';
import { Op } from './frame.js';
import type { FrameWriter } from './frame.js';
import { TxnOp } from './op.js';
import type { Part } from './part.js';
import { TxnReply } from './reply.js';
import { refusing } from './stack.js';
import { unexpected } from './unexpected.js';

type Ops = readonly PublicTxnOp[];

/** What a transaction is made of so far. */
interface Parts {
  readonly compares: readonly Compare[];
  readonly then: readonly TxnOp[];
  readonly otherwise: readonly TxnOp[];
}

/** A transaction that is being put together. Each step answers a new one, so that one can be begun and used twice. */
export class Txn<
  Then extends Ops = readonly [],
  Else extends Ops = readonly [],
> implements PublicTxn<Then, Else> {
  readonly #part: Part;
  readonly #parts: Parts;

  constructor(part: Part, parts: Parts = { compares: [], then: [], otherwise: [] }) {
    this.#part = part;
    this.#parts = parts;
  }

  if(...compares: readonly PublicCompare[]): Txn<Then, Else> {
    const added = refusing(Txn.prototype.if, () => compares.map(asCompare));
    const parts = this.#parts;
    return new Txn(this.#part, { ...parts, compares: [...parts.compares, ...added] });
  }

  then<Added extends Ops>(...ops: Added): Txn<readonly [...Then, ...Added], Else> {
    const added = refusing(Txn.prototype.then, () => {
      // `await` takes whatever has a `then` for a promise, and hands it two functions.
      if (typeof (ops as readonly unknown[])[0] === 'function') {
        throw new InvalidArgumentError(
          'a transaction is no promise: it is sent by commit(), so await client.txn()….commit()',
        );
      }
      return ops.map(asOp);
    });
    const parts = this.#parts;
    return new Txn(this.#part, { ...parts, then: [...parts.then, ...added] });
  }

  else<Added extends Ops>(...ops: Added): Txn<Then, readonly [...Else, ...Added]> {
    const added = refusing(Txn.prototype.else, () => ops.map(asOp));
    const parts = this.#parts;
    return new Txn(this.#part, { ...parts, otherwise: [...parts.otherwise, ...added] });
  }

  async commit(options?: CallOptions): Promise<TxnResult<Then, Else>> {
    const { compares, then, otherwise } = this.#parts;
    const reply = await this.#part.call(Txn.prototype.commit, {
      op: Op.txn,
      writes: true,
      options,
      write: (frame) => {
        frame.u32(compares.length);
        for (const compare of compares) Compare.write(frame, compare);
        writeOps(frame, then);
        writeOps(frame, otherwise);
      },
    });
    if (!(reply instanceof TxnReply)) throw unexpected('commit');
    const { version } = reply;
    // The core answers each op of the branch that was taken with what its type says.
    return reply.succeeded
      ? { succeeded: true, version, results: reply.results as TxnOpResults<Then> }
      : { succeeded: false, version, results: reply.results as TxnOpResults<Else> };
  }
}

function writeOps(frame: FrameWriter, ops: readonly TxnOp[]): void {
  frame.u32(ops.length);
  for (const op of ops) TxnOp.write(frame, op);
}

function asCompare(given: unknown): Compare {
  if (given instanceof Compare) return given;
  throw new InvalidArgumentError(
    `if() takes compares, like compare('a').exists.equals(true); got ${describe(given)}`,
  );
}

function asOp(given: unknown): TxnOp {
  if (given instanceof TxnOp) return given as TxnOp;
  throw new InvalidArgumentError(
    `then() and else() take ops, like op.put('a', '1'); got ${describe(given)}`,
  );
}
