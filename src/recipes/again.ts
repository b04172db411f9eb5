import { unref } from './timers.js';

/** The longest first pause, and the longest of all, in milliseconds. */
const INITIAL_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

/**
 * Does something in the background, and again after a pause for as long as it fails. Pauses grow, and are drawn at random (full
 * jitter); they do not keep a process alive.
 */
export class Again {
  readonly #act: () => Promise<unknown>;
  readonly #failed: (error: unknown) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #stopped = false;

  /** @param failed - Hears each failure, before the pause. It may stop it. */
  constructor(act: () => Promise<unknown>, failed: (error: unknown) => void) {
    this.#act = act;
    this.#failed = failed;
  }

  /** Does it next, in a turn of its own. */
  now(): void {
    this.#after(0);
  }

  /** Counts a failure that was seen elsewhere, and does it after the pause that this one calls for. */
  later(): void {
    const most = Math.min(MAX_PAUSE_MS, INITIAL_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#after(Math.random() * most);
  }

  /** Does it no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** May do it again. */
  start(): void {
    this.#stopped = false;
  }

  #after(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#run(), ms);
    unref(this.#timer);
  }

  async #run(): Promise<void> {
    try {
      await this.#act();
      this.#failures = 0;
    } catch (error) {
      this.#failed(error);
      this.later();
    }
  }
}
