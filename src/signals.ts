/** The signals of the calls under way: one listener for each, however many calls it is given to. */
export class Signals {
  readonly #aborts = new Map<AbortSignal, Aborts>();
  readonly #cancel: (id: number) => void;

  /** @param cancel - Ends a call. */
  constructor(cancel: (id: number) => void) {
    this.#cancel = cancel;
  }

  watch(signal: AbortSignal, id: number): void {
    const aborts = this.#aborts.get(signal);
    if (aborts !== undefined) {
      aborts.ids.add(id);
      return;
    }
    const ids = new Set([id]);
    const listener = (): void => {
      for (const cancelled of ids) this.#cancel(cancelled);
    };
    this.#aborts.set(signal, { ids, listener });
    signal.addEventListener('abort', listener, { once: true });
  }

  unwatch(signal: AbortSignal, id: number): void {
    const aborts = this.#aborts.get(signal);
    if (aborts?.ids.delete(id) === true && aborts.ids.size === 0) {
      signal.removeEventListener('abort', aborts.listener);
      this.#aborts.delete(signal);
    }
  }
}

interface Aborts {
  readonly ids: Set<number>;
  readonly listener: () => void;
}
