import { ResourceExhaustedError } from '@norikv/client';
import { CONFLICT, Deadline, GRACE_MS, MAX_TIMER_MS, delayAfter, timeFor } from './deadline.js';

/** The most that wait for a write at a time. */
const MAX_WAITING = 100_000;

/** What one caller asks for. */
interface Part<Ask, Answer> {
  readonly ask: Ask;
  readonly deadline: Deadline;
  readonly settle: (answer: Answer) => void;
  readonly fail: (error: unknown) => void;
  /** How many attempts it was a part of that met another write. */
  conflicts: number;
  /** Whether it is a part of the attempt that is under way. */
  sent: boolean;
  /** Whether its caller has been told how it ended. */
  over: boolean;
}

/**
 * Makes one write of what many ask for: while an attempt is under way, what is asked for waits, and goes into the next one
 * together. So callers in one object do not compete with each other, and a write costs the same for one as for all.
 */
export class Combiner<Ask, Answer> {
  readonly #what: string;
  readonly #most: number;
  readonly #attempt: (
    asks: readonly Ask[],
    deadline: Deadline,
  ) => Promise<readonly Answer[] | typeof CONFLICT>;
  #waiting = new Set<Part<Ask, Answer>>();
  #running = false;

  /**
   * @param what - What an attempt does, as its errors name it.
   * @param attempt - Does all of it at once, and answers each in the order of the asks; or answers {@link CONFLICT}, having
   *   changed nothing, to be called again. If it throws, all of its asks fail with that error.
   * @param most - The most asks that go together.
   */
  constructor(
    what: string,
    attempt: (
      asks: readonly Ask[],
      deadline: Deadline,
    ) => Promise<readonly Answer[] | typeof CONFLICT>,
    most = Infinity,
  ) {
    this.#what = what;
    this.#attempt = attempt;
    this.#most = most;
  }

  /**
   * Asks for something, and answers what came of it. Who gives up takes only his own part back: it is not done if it was not
   * sent yet; otherwise the error's `outcome` is `'unknown'`.
   *
   * @throws `ResourceExhaustedError` if 100,000 wait; `RetryExhaustedError`, `DeadlineExceededError`, `CancelledError`; what
   *   the attempt throws.
   */
  add(ask: Ask, deadline: Deadline): Promise<Answer> {
    if (this.#waiting.size >= MAX_WAITING) {
      throw new ResourceExhaustedError(
        `${MAX_WAITING} calls wait for ${this.#what}; await some before making more`,
      );
    }
    return new Promise<Answer>((resolve, reject) => {
      const over = (): void => {
        part.over = true;
        this.#waiting.delete(part);
        clearTimeout(timer);
        deadline.signal?.removeEventListener('abort', abort);
      };
      const part: Part<Ask, Answer> = {
        ask,
        deadline,
        settle: (answer) => {
          over();
          resolve(answer);
        },
        fail: (error) => {
          over();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- handed on as it came
          reject(error);
        },
        conflicts: 0,
        sent: false,
        over: false,
      };
      const abort = (): void => {
        part.fail(deadline.cancelled(part.sent ? 'unknown' : undefined));
      };
      const late = (grace: boolean): void => {
        if (!part.sent) {
          part.fail(part.conflicts > 0 ? deadline.exhausted(part.conflicts) : deadline.exceeded());
        } else if (grace && part.conflicts > 0) {
          // It is about to be told which.
          timer = setTimeout(late, GRACE_MS, false);
        } else part.fail(deadline.exceeded('unknown'));
      };
      const left = deadline.leftMs;
      let timer = left > MAX_TIMER_MS ? undefined : setTimeout(late, left, true);
      deadline.signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.add(part);
      if (!this.#running) {
        this.#running = true;
        // What else is asked for in this turn goes along.
        queueMicrotask(() => void this.#run());
      }
    });
  }

  async #run(): Promise<void> {
    let conflicts = 0;
    while (this.#waiting.size > 0) {
      const parts = this.#take();
      const began = performance.now();
      try {
        const asks = parts.map(({ ask }) => ask);
        const answers = await this.#attempt(asks, this.#deadlineOf(parts));
        if (answers === CONFLICT) {
          conflicts += 1;
          const needMs = timeFor(performance.now() - began);
          await this.#again(parts, delayAfter(conflicts), needMs);
          continue;
        }
        for (const [at, answer] of answers.entries()) parts[at]?.settle(answer);
      } catch (error) {
        for (const part of parts) part.fail(error);
      }
      conflicts = 0;
    }
    this.#running = false;
  }

  /** Those that go into the next attempt: the first that came. */
  #take(): Part<Ask, Answer>[] {
    const parts: Part<Ask, Answer>[] = [];
    for (const part of this.#waiting) {
      if (parts.length >= this.#most) break;
      part.sent = true;
      this.#waiting.delete(part);
      parts.push(part);
    }
    return parts;
  }

  /** Of one caller that caller's; of many, as long as the most patient of them waits. */
  #deadlineOf(parts: readonly Part<Ask, Answer>[]): Deadline {
    const [first] = parts;
    if (first !== undefined && parts.length === 1 && first.conflicts === 0) return first.deadline;
    const signal = parts.length === 1 ? first?.deadline.signal : undefined;
    const leftMs = parts.reduce((most, { deadline }) => Math.max(most, deadline.leftMs), 1);
    return new Deadline(this.#what, { signal, timeoutMs: leftMs + GRACE_MS });
  }

  /** Puts back whose attempt met another write, before those that came later, and waits. */
  async #again(parts: readonly Part<Ask, Answer>[], delay: number, needMs: number): Promise<void> {
    const back = parts.filter((part) => {
      part.sent = false;
      part.conflicts += 1;
      if (!part.over && part.deadline.leftMs <= delay + needMs) {
        part.fail(part.deadline.exhausted(part.conflicts));
      }
      return !part.over;
    });
    this.#waiting = new Set([...back, ...this.#waiting]);
    if (this.#waiting.size > 0) await new Promise((resolve) => setTimeout(resolve, delay));
  }
}
