import type { Scan as PublicScan, ScanOptions } from '../index.js';
import { consistencyNumber } from './consistency.js';
import type { Entry } from './entry.js';
import { InternalError, InvalidArgumentError } from './errors.js';
import { Failure } from './failure.js';
import { Op } from './frame.js';
import type { FrameWriter } from './frame.js';
import { SCAN_OPTIONS, checkNames } from './names.js';
import type { Part } from './part.js';
import { KEYS_ONLY, REVERSE, writeRange } from './range.js';
import { Page } from './reply.js';
import type { Reply } from './reply.js';
import { refusing } from './stack.js';
import type { Caller } from './stack.js';
import type { Version } from './version.js';
import { checkType } from './write.js';

/** Where a scan goes on: after which key, at which version, and how many entries are still wanted. */
interface Rest {
  readonly after: Uint8Array;
  readonly version: Version;
  readonly limit: number;
}

/** A scan: each iteration reads the range anew, page by page, from the snapshot of its first page. */
export class Scan implements PublicScan {
  readonly #part: Part;
  readonly #options: ScanOptions;

  constructor(part: Part, options: ScanOptions) {
    this.#part = part;
    this.#options = options;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Entry, void, undefined> {
    for await (const page of this.#pages(Scan.prototype[Symbol.asyncIterator])) {
      yield* page.entries;
    }
  }

  async toArray(): Promise<Entry[]> {
    const entries: Entry[] = [];
    for await (const page of this.#pages(Scan.prototype.toArray)) entries.push(...page.entries);
    return entries;
  }

  async *#pages(caller: Caller): AsyncGenerator<Page, void, undefined> {
    let rest: Rest | undefined;
    do {
      const reply = await this.#page(rest, caller);
      if (reply instanceof Failure) throw reply.toError(caller);
      yield reply;
      rest = this.#after(reply, rest?.limit ?? this.#options.limit ?? 0);
    } while (rest !== undefined);
  }

  async #page(rest: Rest | undefined, caller: Caller): Promise<Page | Failure> {
    const reply = await refusing(caller, () => this.#ask(rest));
    if (reply instanceof Page || reply instanceof Failure) return reply;
    throw new InternalError('the core answered a scan with something else');
  }

  #ask(rest: Rest | undefined): Promise<Reply> {
    const options = this.#options;
    checkNames(options, SCAN_OPTIONS, 'what to scan is an object, like { prefix: "user:" }');
    return this.#part.session.call(
      {
        op: Op.scan,
        options,
        known: SCAN_OPTIONS,
        write: (frame) => {
          writeScan(frame, options, rest);
        },
      },
      this.#part.prefix,
    );
  }

  #after(page: Page, limit: number): Rest | undefined {
    const last = page.entries.at(-1);
    const left = limit === 0 ? 0 : limit - page.entries.length;
    if (!page.more || last === undefined || (limit !== 0 && left <= 0)) return undefined;
    return { after: last.key, version: page.version, limit: left };
  }
}

/** Writes what to scan, from where it goes on. Names are checked before. */
export function writeScan(frame: FrameWriter, options: ScanOptions, rest?: Rest): void {
  checkType(options.reverse, 'boolean', 'reverse');
  checkType(options.keysOnly, 'boolean', 'keysOnly');
  const { limit = 0 } = rest ?? options;
  if (!Number.isSafeInteger(limit) || limit < 0) {
    throw new InvalidArgumentError(
      `limit is a whole number from 0 (no limit); got ${String(limit)}`,
    );
  }
  frame.u8(consistencyNumber(options.consistency));
  frame.u64(BigInt(limit));
  const flags =
    (options.reverse === true ? REVERSE : 0) | (options.keysOnly === true ? KEYS_ONLY : 0);
  const { prefix, start, end } = options;
  const version = rest?.version ?? options.version;
  writeRange(frame, { prefix, start, end }, flags, version, rest?.after);
}
