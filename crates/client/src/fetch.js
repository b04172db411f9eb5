// The half of `fetch.rs` that is shorter in the page's own language: calls of gRPC-Web over `fetch`, and timers. It
// takes frames out of a body and decides nothing. What happened to a call is told as bytes: a frame of gRPC-Web as it
// came, or one of the marks below and what belongs to it.

/** No answer came: why, as text. */
const UNREACHED = 2;
/** The answer ended early: why, as text. */
const BROKEN = 3;
/** A message is larger than is taken: its length. */
const TOO_LARGE = 4;
/** An HTTP answer without a gRPC status: its code. */
const HTTP = 5;

const TRAILERS = 0x80;
/** The flag and the length before every message. */
const HEADER = 5;
/** Those of an answer's headers that say how the call went, where it has no body. */
const STATUS = ['grpc-status', 'grpc-message', 'grpc-status-details-bin', 'leader-hint'];

const encoder = new TextEncoder();
const calls = new Map();

function marked(mark, bytes) {
  const event = new Uint8Array(HEADER + bytes.length);
  event[0] = mark;
  event.set(bytes, HEADER);
  return event;
}

function number(mark, value) {
  const event = marked(mark, []);
  new DataView(event.buffer).setUint32(1, value);
  return event;
}

const text = (mark, value) => marked(mark, encoder.encode(value));

function joined(parts, length) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Whether it is an answer of gRPC-Web, and not, say, a page. */
const isGrpc = (headers) => (headers.get('content-type') ?? '').startsWith('application/grpc');

class Call {
  #wake;
  #most;
  #abort = new AbortController();
  #events = [];
  #parts = [];
  #length = 0;
  /** How many bytes have to be there before there is something to take. */
  #needed = HEADER;
  #response;
  #reader;
  #reading = false;
  /** Whether all that there is was read. */
  #ended = false;

  constructor(wake, most, url, headers, message) {
    this.#wake = wake;
    this.#most = most;
    const body = new Uint8Array(HEADER + message.length);
    new DataView(body.buffer).setUint32(1, message.length);
    body.set(message, HEADER);
    this.#response = fetch(url, {
      method: 'POST',
      headers,
      body,
      credentials: 'omit',
      signal: this.#abort.signal,
    });
    void this.#read();
  }

  abort() {
    this.#wake = () => {};
    // To abort what has ended costs, and ends nothing.
    if (!this.#ended) this.#abort.abort();
  }

  /** What came next. Nothing is read ahead: who does not take holds the server back. */
  take() {
    const event = this.#events.shift();
    if (event === undefined && !this.#reading) void this.#read();
    return event;
  }

  async #read() {
    this.#reading = true;
    try {
      if (this.#reader === undefined) await this.#open();
      while (this.#events.length === 0) {
        const { done, value } = await this.#reader.read();
        if (done) this.#events.push(text(BROKEN, 'the answer broke off'));
        else this.#push(value);
      }
    } catch (error) {
      const mark = this.#reader === undefined ? UNREACHED : BROKEN;
      this.#events.push(text(mark, String(error?.message ?? error)));
    }
    this.#reading = false;
    this.#wake();
  }

  async #open() {
    const { headers, ok, status, body } = await this.#response;
    if (headers.has('grpc-status')) {
      const lines = STATUS.filter((name) => headers.has(name)).map(
        (name) => `${name}:${headers.get(name)}`,
      );
      this.#events.push(text(TRAILERS, lines.join('\r\n')));
    } else if (!ok || body === null || !isGrpc(headers)) {
      this.#events.push(number(HTTP, status));
    } else {
      this.#reader = body.getReader();
    }
  }

  #push(part) {
    this.#parts.push(part);
    this.#length += part.length;
    if (this.#length < this.#needed) return;
    const bytes = joined(this.#parts, this.#length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    this.#needed = HEADER;
    while (bytes.length - at >= HEADER) {
      const length = view.getUint32(at + 1);
      if (length > this.#most) {
        this.#events.push(number(TOO_LARGE, length));
        break;
      }
      if (bytes.length - at < HEADER + length) {
        this.#needed = HEADER + length;
        break;
      }
      this.#ended ||= (bytes[at] & TRAILERS) !== 0;
      this.#events.push(bytes.subarray(at, at + HEADER + length));
      at += HEADER + length;
    }
    const rest = bytes.subarray(at);
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
  }
}

/** Makes a call; `wake(id)` is called whenever there may be something to take. */
export function begin(wake, id, most, url, authorization, timeout, message) {
  const headers = { 'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1' };
  if (authorization !== undefined) headers.authorization = authorization;
  if (timeout !== undefined) headers['grpc-timeout'] = timeout;
  calls.set(id, new Call(() => wake(id), most, url, headers, message));
}

/** What came of a call, if something did. */
export function take(id) {
  return calls.get(id)?.take();
}

/** Ends a call, whether it was answered or not. */
export function end(id) {
  calls.get(id)?.abort();
  calls.delete(id);
}

/** Calls `wake(id)` after a time. */
export function startTimer(wake, id, millis) {
  return setTimeout(() => wake(id), millis);
}

/** Forgets about a timer. */
export function stopTimer(timer) {
  clearTimeout(timer);
}

/** 16 bytes that nobody guesses. */
export function random() {
  return crypto.getRandomValues(new Uint8Array(16));
}
