import type { ServiceEvent, ServiceListener, ServiceWatch } from './serviceWatch.js';

/** The events of a service, to be iterated once. It begins with the first `next`. */
export class ServiceEvents implements AsyncIterableIterator<ServiceEvent, undefined> {
  readonly #begin: (on: Pick<ServiceListener, 'event' | 'ended'>) => ServiceWatch;
  #watch: ServiceWatch | undefined;
  #opening: Promise<void> | undefined;
  readonly #unread: ServiceEvent[] = [];
  #wake: (() => void)[] = [];
  #over = false;
  #failed: Error | undefined;

  constructor(begin: (on: Pick<ServiceListener, 'event' | 'ended'>) => ServiceWatch) {
    this.#begin = begin;
  }

  async next(): Promise<IteratorResult<ServiceEvent, undefined>> {
    await (this.#opening ??= this.#open());
    for (;;) {
      const event = this.#unread.shift();
      if (event !== undefined) return { done: false, value: event };
      const failed = this.#failed;
      this.#failed = undefined;
      if (failed !== undefined) throw failed;
      if (this.#over) return { done: true, value: undefined };
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  async return(): Promise<IteratorResult<ServiceEvent, undefined>> {
    this.#over = true;
    this.#unread.length = 0;
    await this.#watch?.close();
    this.#wakeAll();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #open(): Promise<void> {
    const over = (): boolean => this.#over;
    if (over()) return;
    this.#watch = this.#begin({
      event: (event) => {
        this.#unread.push(event);
        this.#wakeAll();
      },
      ended: (error) => {
        this.#over = true;
        this.#failed ??= error;
        this.#wakeAll();
      },
    });
    try {
      await this.#watch.open();
    } catch (error) {
      // Who closed it meanwhile is told that it is over, and not that it could not begin.
      const closed = over();
      await this.return();
      if (!closed) throw error;
    }
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}
