import type { CallOptions } from '../index.js';
import type { Binding } from './binding.js';
import { ownKey, toBytes } from './bytes.js';
import { ClosedError, InvalidArgumentError, ResourceExhaustedError } from './errors.js';
import { CANCELLED, Failure } from './failure.js';
import { FrameWriter, Op, checkTimeout, writeUtf8 } from './frame.js';
import { CALL_OPTIONS, checkOptions } from './names.js';
import { Batches, ReplyReader } from './reply.js';
import type { Asked, Reply } from './reply.js';
import { Signals } from './signals.js';
import { Stream } from './stream.js';

/** Where an error is that of every call, instead of a call's number; as in `crates/bridge/src/reply.rs`. */
const EVERY_CALL = 0xffff_ffff;
/** Where batches are those of several watches, which are named in the reply; from the same file. */
const SOME_WATCHES = 0xffff_fffe;
/** A frame without calls. */
const NOTHING = new Uint8Array();
/** The page shared with the core: a key goes in, an entry comes out. Larger entries take the way of the frames. */
const PAGE_BYTES = 64 * 1024;
/** The longest key that is looked up through the page; a UTF-16 unit has at most three bytes. */
const MAX_PAGE_KEY = 1024;
/** The most calls under way at a time. Each holds memory on both sides. */
const MAX_PENDING = 1_000_000;

/** A frame with this many bytes crosses at once, and not at the end of the turn: it would grow without bound. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024;
/** The most bytes of the calls under way: as many lie in memory until they are answered. */
const MAX_PENDING_BYTES = 1024 * 1024 * 1024;

/** A call that waits for its reply. */
interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly asked: Asked;
  readonly writes: boolean;
  readonly signal: AbortSignal | undefined;
  /** What goes on after the reply, unless that is a failure. */
  readonly stream: Stream | undefined;
  /** How many bytes it has in its frame. */
  readonly bytes: number;
}

/** What a call is made of. */
export interface Request {
  readonly op: number;
  /** Whether it changes the store: until it is answered, reads do not overtake it. */
  readonly writes?: boolean;
  readonly options: CallOptions | undefined;
  /** The names that its options may have; those of every call unless it says otherwise. */
  readonly known?: ReadonlySet<string>;
  readonly asked?: Asked;
  /** Writes the call's arguments, and may refuse them. */
  readonly write?: (frame: FrameWriter) => void;
}

/**
 * The calls of one client: those of one turn of the event loop cross into the core together, and the replies that
 * are ready come back together.
 */
export class Session {
  readonly #binding: Binding;
  readonly #client: number;
  readonly #page = new Uint8Array(PAGE_BYTES);
  readonly #pageReader = new ReplyReader(this.#page);
  readonly #frame = new FrameWriter();
  readonly #pending: (Pending | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #streams = new Map<number, Stream>();
  readonly #signals = new Signals((id) => {
    this.#cancel(id);
  });
  #waiting = 0;
  /** Who waits for a stream's next reply. */
  #holds = 0;
  #waitingBytes = 0;
  #writes = 0;
  #flushing = false;
  #held = false;
  #connected = false;
  #closed: Promise<Reply> | undefined;

  /** @throws the error of a wrong configuration. */
  constructor(
    binding: Binding,
    config: Uint8Array,
    /** How long a call may take unless it says otherwise. */
    readonly timeoutMs: number,
  ) {
    this.#binding = binding;
    const client = binding.createClient(config, this.#page, (replies) => {
      this.#deliver(replies);
    });
    if (typeof client !== 'number') {
      throw new ReplyReader(client).failure().toError(Session);
    }
    this.#client = client;
  }

  /** Whether a call was answered by the store, and the session is not closed. */
  get connected(): boolean {
    return this.#connected && !this.closed;
  }

  set connected(connected: boolean) {
    this.#connected = connected;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** What the client counted, as `readStats` takes it; `null` once it is closed. */
  stats(): ReplyReader | null {
    const stats = this.#binding.stats(this.#client);
    return stats === null ? null : new ReplyReader(stats);
  }

  /** The cluster's view, as `readClusterView` takes it. */
  clusterView(): ReplyReader | null {
    const view = this.closed ? null : this.#binding.clusterView(this.#client);
    return view === null ? null : new ReplyReader(view);
  }

  /**
   * Reads a key in this very call, if the store can: `undefined` if it cannot.
   *
   * Not while a write is under way: a read made after it must not overtake it.
   */
  getNow(key: string | Uint8Array, prefix: Uint8Array | undefined, consistency: number): Reply {
    if (typeof key !== 'string') toBytes(key, 'a key');
    if (this.#writes > 0 || this.closed || key.length > MAX_PAGE_KEY) return undefined;
    const prefixLength = prefix === undefined ? 0 : prefix.length;
    if (prefix !== undefined) this.#page.set(prefix);
    let keyLength: number;
    if (typeof key === 'string') {
      keyLength = writeUtf8(key, this.#page, prefixLength);
    } else {
      this.#page.set(key, prefixLength);
      keyLength = key.length;
    }
    const length = this.#binding.getNow(this.#client, prefixLength, keyLength, consistency);
    if (length > 0) return this.#pageReader.rewind().reply(ownKey(key));
    if (length === 0) return null;
    return length === -2 ? this.#pageReader.rewind().failure() : undefined;
  }

  /**
   * Makes a call on the keys under a prefix. The promise resolves also with a failure; it rejects only for bad
   * input found here.
   *
   * The prefix is no part of the request: callers would copy the request to add it, a third of a call's time.
   */
  call(request: Request, prefix: Uint8Array | undefined): Promise<Reply> {
    if (this.closed) throw closedError();
    return this.#send(request, prefix);
  }

  /**
   * A call whose stream goes on after its first reply. `first` hears that at once, before any reply after it; the
   * promise resolves with it.
   */
  open(
    request: Request,
    prefix: Uint8Array | undefined,
    stream: Stream,
    first: (reply: Reply) => void,
  ): Promise<Reply> {
    if (this.closed) throw closedError();
    if (this.#streams.size >= MAX_PENDING) {
      throw new ResourceExhaustedError(
        `${MAX_PENDING} watches and leases of this client are open; close some before making more`,
      );
    }
    return this.#send(request, prefix, stream, first);
  }

  /** A stream of a call without arguments, whose listener is ours to protect the other replies from. */
  listen(op: number, listener: (reply: Reply) => void): () => void {
    if (this.closed) throw closedError();
    const stream = new Stream((reply) => {
      // What a listener throws must not keep the other replies from their callers.
      queueMicrotask(() => {
        if (stream.id !== undefined) listener(reply);
      });
    });
    const id = this.#takeId();
    stream.id = id;
    this.#streams.set(id, stream);
    this.#frame.begin(op, id, 0, undefined);
    this.#flushSoon(false);
    return () => {
      this.cancelStream(stream);
      stream.id = undefined;
    };
  }

  /** Tells the core something about a stream, which has no answer. A stream that has ended is told nothing. */
  tell(stream: Stream, op: number, write: (frame: FrameWriter) => void): void {
    if (stream.id === undefined || this.closed) return;
    this.#frame.begin(op, stream.id, 0, undefined);
    write(this.#frame);
    this.#flushSoon(false);
    if (this.#frame.length >= MAX_FRAME_BYTES) this.#submit();
  }

  /** Ends a stream; the core answers it a last time. */
  cancelStream(stream: Stream): void {
    if (stream.id !== undefined && !this.closed) this.#cancel(stream.id);
  }

  /** Keeps the process alive for somebody who waits for a stream, until `letGo`. */
  hold(): void {
    this.#holds += 1;
    if (this.#held || this.closed) return;
    this.#held = true;
    this.#binding.submit(this.#client, NOTHING);
  }

  /** Nobody of those waits any more. */
  letGo(): void {
    this.#holds -= 1;
    this.#flushSoon(false);
  }

  /** How long a lease has left, in milliseconds; nothing if it is lost, or the client closed. */
  leaseLeft(id: bigint): number {
    return this.closed ? 0 : this.#binding.leaseLeft(this.#client, id);
  }

  /** Closes the client in the core. Every call is answered before this is. */
  close(): Promise<Reply> {
    this.#closed ??= this.#send({ op: Op.close, options: undefined }, undefined).then((reply) => {
      this.#streams.clear();
      this.#release();
      this.#binding.destroyClient(this.#client);
      return reply;
    });
    return this.#closed;
  }

  #send(
    request: Request,
    prefix: Uint8Array | undefined,
    stream?: Stream,
    first?: (reply: Reply) => void,
  ): Promise<Reply> {
    const { op, options, known = CALL_OPTIONS, asked, write, writes = false } = request;
    checkOptions(options, known);
    const signal = options?.signal;
    checkSignal(signal);
    const timeout = checkTimeout(options?.timeoutMs);
    if (signal?.aborted === true) {
      const reply = cancelled(signal);
      first?.(reply);
      return Promise.resolve(reply);
    }
    if (this.#waiting >= MAX_PENDING) {
      throw new ResourceExhaustedError(
        `${MAX_PENDING} calls of this client are under way; await some before making more`,
      );
    }
    const id = this.#takeId();
    const before = this.#frame.length;
    try {
      this.#frame.begin(op, id, timeout, prefix);
      write?.(this.#frame);
      this.#checkBytes(op, this.#frame.length - before);
    } catch (error) {
      this.#frame.rollback(before);
      this.#free.push(id);
      throw error;
    }
    const bytes = this.#frame.length - before;
    this.#waiting += 1;
    this.#waitingBytes += bytes;
    if (writes) this.#writes += 1;
    if (signal !== undefined) this.#signals.watch(signal, id);
    if (stream !== undefined) stream.id = id;
    const reply = new Promise<Reply>((resolve) => {
      const answer =
        first === undefined
          ? resolve
          : (reply: Reply): void => {
              first(reply);
              resolve(reply);
            };
      this.#pending[id] = { resolve: answer, asked, writes, signal, stream, bytes };
    });
    this.#flushSoon(true);
    if (this.#frame.length >= MAX_FRAME_BYTES) this.#submit();
    return reply;
  }

  /** @throws ResourceExhaustedError if a call of that many bytes is too much. Closing always goes through. */
  #checkBytes(op: number, bytes: number): void {
    if (op !== Op.close && this.#waitingBytes + bytes > MAX_PENDING_BYTES) {
      throw new ResourceExhaustedError(
        `the calls of this client under way have ${this.#waitingBytes} bytes, and ${MAX_PENDING_BYTES} is the most; await some before making more`,
      );
    }
  }

  #takeId(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    this.#pending.push(undefined);
    return this.#pending.length - 1;
  }

  #flushSoon(hold: boolean): void {
    if (hold) this.#held = true;
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (this.#frame.length > 0) this.#submit();
      if (this.#idle) this.#release();
    });
  }

  get #idle(): boolean {
    return this.#waiting === 0 && this.#holds === 0;
  }

  #submit(): void {
    this.#binding.submit(this.#client, this.#frame.frame());
    this.#frame.reset();
  }

  #release(): void {
    this.#held = false;
    this.#binding.release(this.#client);
  }

  #deliver(replies: Uint8Array): void {
    const reader = new ReplyReader(replies);
    while (reader.hasMore) {
      const id = reader.u32();
      const pending = this.#pending[id];
      const reply = reader.reply(pending?.asked);
      if (pending !== undefined) this.#settle(id, pending, reply);
      else if (id === SOME_WATCHES) this.#fanOut(reply);
      else if (id === EVERY_CALL) this.#settleAll(reply);
      else this.#streamed(id, reply);
    }
    if (this.#idle && this.#held) this.#release();
  }

  #settle(id: number, pending: Pending, reply: Reply): void {
    const { signal, stream } = pending;
    this.#pending[id] = undefined;
    this.#waiting -= 1;
    this.#waitingBytes -= pending.bytes;
    if (pending.writes) this.#writes -= 1;
    if (stream !== undefined && !(reply instanceof Failure)) {
      stream.signal = signal;
      this.#streams.set(id, stream);
    } else {
      this.#free.push(id);
      if (stream !== undefined) stream.id = undefined;
      if (signal !== undefined) this.#signals.unwatch(signal, id);
    }
    pending.resolve(signal === undefined ? reply : bySignal(signal, reply));
  }

  /** The core did not understand a frame, and is gone: no call gets an answer of its own any more. */
  #settleAll(reply: Reply): void {
    this.#closed ??= Promise.resolve(undefined);
    this.#pending.forEach((pending, id) => {
      if (pending !== undefined) this.#settle(id, pending, reply);
    });
    for (const id of [...this.#streams.keys()]) this.#streamed(id, reply);
  }

  /** Batches that cross once for all the watches that they are for. */
  #fanOut(reply: Reply): void {
    if (!(reply instanceof Batches)) return;
    for (const id of reply.ids) this.#streams.get(id)?.hear(reply);
  }

  /** A reply of a stream: `undefined` and failures are its last. */
  #streamed(id: number, reply: Reply): void {
    const stream = this.#streams.get(id);
    if (reply !== undefined && !(reply instanceof Failure)) {
      stream?.hear(reply);
      return;
    }
    this.#streams.delete(id);
    this.#free.push(id);
    if (stream === undefined) return;
    stream.id = undefined;
    if (stream.signal !== undefined) this.#signals.unwatch(stream.signal, id);
    stream.hear(stream.signal === undefined ? reply : bySignal(stream.signal, reply));
  }

  #cancel(id: number): void {
    this.#frame.begin(Op.cancel, id, 0, undefined);
    this.#flushSoon(false);
  }
}

function closedError(): ClosedError {
  return new ClosedError('the client is closed; open a new one to make calls');
}

function cancelled(signal: AbortSignal): Failure {
  const message = 'the call was not made: its signal had fired';
  return new Failure(CANCELLED, message, new Map(), undefined).abortedBy(signal);
}

/** The reply to a call whose signal may have fired: what that says is the cause of the cancellation. */
function bySignal(signal: AbortSignal, reply: Reply): Reply {
  return signal.aborted && reply instanceof Failure && reply.isCancelled()
    ? reply.abortedBy(signal)
    : reply;
}

function checkSignal(signal: AbortSignal | undefined): void {
  const given: unknown = signal;
  if (given !== undefined && !(given instanceof AbortSignal)) {
    throw new InvalidArgumentError('signal is an AbortSignal, like that of an AbortController');
  }
}
