import type { Watch as PublicWatch, WatchBatch, WatchOptions, WatchRange } from '../index.js';
import { InvalidArgumentError } from './errors.js';
import { Failure } from './failure.js';
import { Op } from './frame.js';
import type { FrameWriter } from './frame.js';
import { WATCH_OPTIONS } from './names.js';
import type { Part } from './part.js';
import { writeWatchRange } from './range.js';
import { Batches } from './reply.js';
import type { Reply, ReplyReader } from './reply.js';
import { cutStack } from './stack.js';
import { Stream } from './stream.js';
import { Version } from './version.js';
import { readBatch } from './watchBatch.js';
import { checkType } from './write.js';
import { unexpected } from './unexpected.js';

// Flags of watches, as in `crates/bridge/src/call.rs`.
const PREV_ENTRY = 1;
const PROGRESS = 2;
const PUTS = 4;
const DELETES = 8;

/** What lies here unread at the most; beyond it the core reads for this watch no further. */
const MAX_BATCHES = 64;
const MAX_BYTES = 1024 * 1024;

/** What a waiting `next()` gets: a batch, why the watch ended, or that it is over. */
type Taken = WatchBatch | Failure | undefined;

/** A watch. It begins when it is made, and is iterated once. */
export class Watch implements PublicWatch {
  readonly #part: Part;
  readonly #stream: Stream;
  readonly #first: Promise<Reply>;
  /** What has come and was not read: decoded only when it is taken. */
  readonly #unread: ReplyReader[] = [];
  readonly #waiting: ((taken: Taken) => void)[] = [];
  #iterated = false;
  /** What was read since the core was last told. */
  #readBatches = 0;
  #readBytes = 0;
  /** Why it ended; thrown once, after what is unread. */
  #failed: Failure | undefined;
  #over = false;

  constructor(part: Part, range: WatchRange, options: WatchOptions | undefined) {
    this.#part = part;
    this.#stream = new Stream((reply) => {
      this.#hear(reply);
    });
    this.#first = part.session.open(
      {
        op: Op.watch,
        options,
        known: WATCH_OPTIONS,
        write: (frame) => {
          writeWatch(frame, range, options);
        },
      },
      part.prefix,
      this.#stream,
      (reply) => {
        if (reply instanceof Failure) this.#hear(reply);
        else part.session.connected = true;
      },
    );
  }

  /** A promise for each who looks: its error has the stack of who awaits it, and is nobody's if nobody does. */
  get ready(): Promise<Version> {
    return Watch.#ready(this);
  }

  static async #ready(watch: Watch): Promise<Version> {
    const reply = await watch.#first;
    if (reply instanceof Failure) throw reply.toError(Watch.#ready);
    if (!(reply instanceof Version)) throw unexpected('watch');
    return reply;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<WatchBatch, undefined> {
    if (this.#iterated) {
      const error = new InvalidArgumentError(
        'a watch is iterated once, since what was read is gone; call watch() again',
      );
      cutStack(error, Watch.prototype[Symbol.asyncIterator]);
      throw error;
    }
    this.#iterated = true;
    const iterator: AsyncIterableIterator<WatchBatch, undefined> = {
      next: () => this.#next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  close(): Promise<void> {
    this.#over = true;
    this.#failed = undefined;
    this.#unread.length = 0;
    this.#wakeAll();
    this.#part.session.cancelStream(this.#stream);
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #next(): Promise<IteratorResult<WatchBatch, undefined>> {
    const batch = this.#take();
    if (batch !== undefined) return Promise.resolve({ done: false, value: batch });
    return Watch.#wait(this);
  }

  static async #wait(watch: Watch): Promise<IteratorResult<WatchBatch, undefined>> {
    const taken = await watch.#later();
    if (taken instanceof Failure) throw taken.toError(Watch.#wait);
    return taken === undefined ? { done: true, value: undefined } : { done: false, value: taken };
  }

  /** The next batch, as soon as there is one. Whoever waits for it keeps the process alive. */
  #later(): Promise<Taken> {
    if (this.#over) {
      const failed = this.#failed;
      this.#failed = undefined;
      return Promise.resolve(failed);
    }
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) this.#part.session.hold();
    });
  }

  #take(): WatchBatch | undefined {
    const reader = this.#unread[0];
    // The core's answer to a signal is on its way: what is unread is dropped with it.
    if (reader === undefined || this.#stream.signal?.aborted === true) return undefined;
    const length = reader.u32();
    const batch = readBatch(reader);
    if (!reader.hasMore) this.#unread.shift();
    this.#readBatches += 1;
    this.#readBytes += length;
    if (this.#readBatches >= MAX_BATCHES / 2 || this.#readBytes >= MAX_BYTES / 2) this.#tellRead();
    return batch;
  }

  /** Lets the core send as much again as was read. */
  #tellRead(): void {
    const [batches, bytes] = [this.#readBatches, this.#readBytes];
    this.#readBatches = this.#readBytes = 0;
    this.#part.session.tell(this.#stream, Op.watchMore, (frame) => {
      frame.u32(batches);
      frame.u32(bytes);
    });
  }

  #hear(reply: Reply): void {
    if (this.#over) return;
    if (reply instanceof Batches) {
      this.#unread.push(reply.reader());
      this.#serve();
      return;
    }
    this.#over = true;
    this.#failed = reply instanceof Failure ? reply : undefined;
    // Who ends a watch wants no more of it; every other end comes after what there was before.
    if (this.#failed?.isCancelled() === true) this.#unread.length = 0;
    this.#wakeAll();
  }

  /** Hands what has come to who waits for it. */
  #serve(): void {
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      if (batch === undefined) return;
      this.#waiting.shift()?.(batch);
      if (this.#waiting.length === 0) this.#part.session.letGo();
    }
  }

  #wakeAll(): void {
    if (this.#waiting.length === 0) return;
    for (const resolve of this.#waiting.splice(0)) {
      resolve(this.#failed);
      this.#failed = undefined;
    }
    this.#part.session.letGo();
  }
}

function writeWatch(
  frame: FrameWriter,
  range: WatchRange,
  options: WatchOptions | undefined,
): void {
  const { fromVersion, prevEntry, progress, puts, deletes } = options ?? {};
  checkType(prevEntry, 'boolean', 'prevEntry');
  checkType(progress, 'boolean', 'progress');
  checkType(puts, 'boolean', 'puts');
  checkType(deletes, 'boolean', 'deletes');
  frame.u8(
    (prevEntry === true ? PREV_ENTRY : 0) |
      (progress === true ? PROGRESS : 0) |
      (puts === false ? 0 : PUTS) |
      (deletes === false ? 0 : DELETES),
  );
  frame.u32(MAX_BATCHES);
  frame.u32(MAX_BYTES);
  writeWatchRange(frame, range, fromVersion);
}
