import { ClosedError } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient } from '@norikv/client';
import { Again } from './again.js';
import { decodeService, isSameService } from './service.js';
import type { Service } from './service.js';
import { View } from './view.js';
import type { ViewChange } from './view.js';

/** A change among the instances of a service. */
export interface ServiceEvent {
  /** It came, it went, or what it says of itself is another. */
  readonly type: 'added' | 'removed' | 'updated';
  /** The instance as it is now; of one that went, as it was. */
  readonly service: Service;
}

/** What a watch tells, beside events. */
export interface ServiceListener {
  readonly event: (event: ServiceEvent) => void;
  /** What went wrong: the watch, which is begun `again`, or an entry, which is left out. */
  readonly failed: (error: unknown, again: boolean) => void;
  /** That there will be no more events: it was closed or, with an error, its client. */
  readonly ended: (error?: ClosedError) => void;
}

/** The instances of a service as they come and go, until it is closed. A watch that ends is begun again. */
export class ServiceWatch {
  readonly #view: View;
  readonly #listener: ServiceListener;
  /** What was told, by key: what is no service is not told. */
  readonly #told = new Map<string, Service>();
  readonly #again: Again;

  constructor(client: NoriKVClient, prefix: string, listener: ServiceListener) {
    this.#listener = listener;
    this.#view = new View(client, prefix, (error) => {
      this.#failed(error);
      this.#again.later();
    });
    this.#again = new Again(
      () => this.#view.open(),
      (error) => {
        this.#failed(error);
      },
    );
    this.#view.listen((changes) => {
      for (const change of changes) this.#hear(change);
    });
  }

  /** Begins, and tells what is there. @throws What the client throws. */
  async open(options?: CallOptions): Promise<void> {
    await this.#view.open(options);
  }

  async close(): Promise<void> {
    this.#again.stop();
    this.#listener.ended();
    await this.#view.close();
  }

  #hear({ key, after }: ViewChange): void {
    const before = this.#told.get(key);
    const service = after === null ? undefined : this.#decode(after);
    if (service === undefined) {
      this.#told.delete(key);
      if (before !== undefined) this.#listener.event({ type: 'removed', service: before });
      return;
    }
    this.#told.set(key, service);
    if (before === undefined) this.#listener.event({ type: 'added', service });
    else if (!isSameService(before, service)) this.#listener.event({ type: 'updated', service });
  }

  #decode(entry: Entry): Service | undefined {
    try {
      return decodeService(entry).service;
    } catch (error) {
      this.#listener.failed(error, false);
      return undefined;
    }
  }

  #failed(error: unknown): void {
    if (error instanceof ClosedError) {
      this.#again.stop();
      this.#listener.ended(error);
    } else {
      this.#listener.failed(error, true);
    }
  }
}
