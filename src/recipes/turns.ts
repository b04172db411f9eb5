import type { Deadline } from './deadline.js';

/** Turns within one process, first come, first served. */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #taken = false;

  /** Takes the turn if nobody has it. */
  tryTake(): boolean {
    if (this.#taken) return false;
    this.#taken = true;
    return true;
  }

  /** Waits for the turn. @throws `DeadlineExceededError`, `CancelledError`. */
  async take(deadline: Deadline): Promise<void> {
    if (this.tryTake()) return;
    let wake: () => void = () => undefined;
    const turn = new Promise<void>((resolve) => (wake = resolve));
    this.#waiting.push(wake);
    try {
      await deadline.within(turn);
    } catch (error) {
      const at = this.#waiting.indexOf(wake);
      if (at >= 0) this.#waiting.splice(at, 1);
      // It was ours already when we stopped waiting.
      else this.give();
      throw error;
    }
  }

  /** Hands the turn on. */
  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#taken = false;
    else next();
  }
}
