import { ClosedError, InvalidArgumentError } from '@norikv/client';
import type { CallOptions, NoriKVClient } from '@norikv/client';
import { callEach, throwUncaught } from './callbacks.js';
import type { Unsubscribe } from './callbacks.js';
import { Deadline } from './deadline.js';
import { HealthChecks, checkHealthCheck } from './health.js';
import type { HealthCheck } from './health.js';
import { checkName, describe, keyOf, prefixOf } from './keys.js';
import { DEFAULT_TTL_MS, Leaseholder } from './leaseholder.js';
import { checkFields, checkOptions } from './options.js';
import { Registered } from './registration.js';
import { checkService, decodeService } from './service.js';
import type { Service } from './service.js';
import { ServiceEvents } from './serviceEvents.js';
import { ServiceWatch } from './serviceWatch.js';
import type { ServiceEvent, ServiceListener } from './serviceWatch.js';

/** Settings of a {@link ServiceRegistry}. */
export interface ServiceRegistryOptions {
  /**
   * Hears what went wrong behind the calls: an attempt to register again, or a watch that ended, both of which are done again
   * after a pause of up to 5 seconds; what a health check threw; an entry under the prefix that is no service, which is left
   * out. Default: the last two are thrown where uncaught errors go.
   */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** Options of {@link ServiceRegistry.register}. */
export interface RegisterOptions extends CallOptions {
  /** Whether an instance of the same name and id that is registered elsewhere gives way. Default false. */
  readonly replace?: boolean | undefined;
  /** While it fails, the service is not in the registry. The first check is one interval after `register`. */
  readonly healthCheck?: HealthCheck | undefined;
}

/** A service that this registry keeps registered. */
export interface Registration {
  readonly service: Service;
  /**
   * Fires when it came to light that another registration has the name and id, with an `AlreadyExistsError`: this one is given
   * up. That is found out when it has to be registered again, after the lease was lost or by its health check.
   */
  readonly signal: AbortSignal;
  /** As {@link ServiceRegistry.deregister}, of this registration. */
  deregister(options?: CallOptions): Promise<boolean>;
}

/** A registration, and what looks after it. */
interface Mine {
  readonly of: Registered;
  checks: HealthChecks | undefined;
}

/**
 * Where the instances of services are: each registers itself, and is gone when its process is.
 *
 * All that a registry object registers hangs on one lease, which the client keeps alive. If the lease is lost, because the
 * process stood still or the store was away for too long, everything is registered again with a new one.
 *
 * An instance is the key `service/<prefix>/<name>/<id>`, each part escaped, with `{ address, port, metadata, by }` as its value;
 * `by` names the registration and changes with each of its writes.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { ServiceRegistry } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using registry = new ServiceRegistry(client, 'shop', 10_000);
 * await registry.watch('api', ({ type, service }) => {
 *   console.log(`${type} ${service.id}`);
 * });
 * await registry.register({ name: 'api', id: 'api-1', address: '10.0.0.7', port: 8080 });
 * const found = await registry.discover('api');
 * console.log(found.map(({ address, port }) => `${address}:${port}`).join(' ')); // 10.0.0.7:8080
 * ```
 */
export class ServiceRegistry implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #prefix: string;
  readonly #holder: Leaseholder;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #registered = new Map<string, Mine>();
  readonly #watches = new Set<ServiceWatch>();
  #closed = false;

  /**
   * @param prefix - Sets this registry apart from others: 1 to 256 bytes. It is one part of the keys, whatever is in it.
   * @param ttlMs - How long a service outlives its process, in milliseconds. Default 10,000.
   * @throws `InvalidArgumentError`.
   */
  constructor(
    client: NoriKVClient,
    prefix: string,
    ttlMs = DEFAULT_TTL_MS,
    options: ServiceRegistryOptions = {},
  ) {
    const { onError } = checkFields(options, 'the options of a registry', ['onError']);
    if (onError !== undefined && typeof onError !== 'function') {
      throw new InvalidArgumentError(`onError is a function; got ${describe(onError)}`);
    }
    this.#client = client;
    this.#prefix = checkName(prefix, 'the prefix of a registry');
    this.#holder = new Leaseholder(client, ttlMs);
    this.#onError = onError;
  }

  /**
   * Registers an instance, and keeps it registered until `deregister` or `close`. One that this object registered before is
   * updated.
   *
   * @throws `AlreadyExistsError`, naming where it is, if the instance is registered elsewhere. So is that of a process that died
   *   less than its `ttlMs` ago; ids that outlive their process are registered with `replace: true`. `InvalidArgumentError`;
   *   `ClosedError`; what the client throws.
   */
  async register(service: Service, options: RegisterOptions = {}): Promise<Registration> {
    this.#check();
    const checked = checkService(service);
    checkOptions(options, 'replace', 'healthCheck');
    const { replace = false, healthCheck, ...call } = options;
    if (typeof replace !== 'boolean') {
      throw new InvalidArgumentError(`replace is true or false; got ${describe(replace)}`);
    }
    if (healthCheck !== undefined) checkHealthCheck(healthCheck);
    const key = keyOf('service', this.#prefix, checked.name, checked.id);
    const deadline = new Deadline(`registering "${key}"`, call);

    const mine = this.#registered.get(key) ?? this.#make(key, checked);
    this.#registered.set(key, mine);
    try {
      await mine.of.put(checked, deadline, replace);
    } catch (error) {
      if (!mine.of.isKept) this.#forget(key, mine);
      throw error;
    }
    mine.checks?.stop();
    mine.checks =
      healthCheck === undefined
        ? undefined
        : new HealthChecks(
            healthCheck,
            (healthy) => {
              mine.of.want(healthy);
            },
            (error) => {
              this.#failed(error, false);
            },
          );
    // It was closed while the last step was under way.
    if (this.#closed) this.#forget(key, mine);
    else this.#registered.set(key, mine);
    return {
      service: checked,
      signal: mine.of.signal,
      deregister: (own?: CallOptions) => this.#deregister(key, mine.of, own),
    };
  }

  /**
   * Takes an instance that this object registered out: `true` if it was there and still its own.
   *
   * @throws What the client throws; the lease then sees to it once the registry is closed.
   */
  async deregister(name: string, id: string, options?: CallOptions): Promise<boolean> {
    this.#check();
    checkName(name, 'the name of a service');
    checkName(id, 'the id of a service');
    const key = keyOf('service', this.#prefix, name, id);
    const mine = this.#registered.get(key);
    return mine !== undefined && (await this.#deregister(key, mine.of, options));
  }

  /**
   * The instances of a service that are registered now, in the order of their ids: one scan of the store.
   *
   * @throws `CorruptionError` for an entry that is no service; what the client throws.
   */
  async discover(name: string, options: CallOptions = {}): Promise<readonly Service[]> {
    this.#check();
    checkOptions(options);
    const { signal, timeoutMs } = options;
    const range = { prefix: this.#prefixOf(name), signal, timeoutMs };
    const entries = await this.#client.scan(range).toArray();
    return entries.map((entry) => decodeService(entry).service);
  }

  /**
   * Follows the instances of a service: first each that is there is `added`, and from then on nothing is missed.
   *
   * With a listener it answers, once what is there was told, how to stop. What the listener throws is thrown where uncaught
   * errors go. Without one, it answers the events to be iterated once; leaving the loop ends it. Events wait in memory until they
   * are read.
   *
   * @throws `InvalidArgumentError`; `ClosedError`; what the client throws.
   */
  watch(
    name: string,
    listener: (event: ServiceEvent) => void,
    options?: CallOptions,
  ): Promise<Unsubscribe>;
  watch(name: string): AsyncIterableIterator<ServiceEvent, undefined>;
  watch(
    name: string,
    listener?: (event: ServiceEvent) => void,
    options?: CallOptions,
  ): Promise<Unsubscribe> | AsyncIterableIterator<ServiceEvent, undefined> {
    if (listener !== undefined) return this.#listen(name, listener, options);
    this.#check();
    return new ServiceEvents((on) => this.#begin(this.#prefixOf(name), on));
  }

  /** Takes everything that it registered out, and ends its watches. Closing twice is closing once. */
  async close(): Promise<void> {
    this.#closed = true;
    const registered = [...this.#registered];
    for (const [key, mine] of registered) this.#forget(key, mine);
    // All of them go with the lease, in one revision; what others registered over them is not the lease's.
    await this.#holder.close();
    await Promise.all(registered.map(([, { of }]) => of.settled()));
    await Promise.all([...this.#watches].map((watch) => watch.close()));
  }

  /** The same as {@link ServiceRegistry.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #deregister(
    key: string,
    of: Registered,
    options: CallOptions | undefined,
  ): Promise<boolean> {
    this.#check();
    const mine = this.#registered.get(key);
    if (mine?.of !== of) return false;
    mine.checks?.stop();
    const removed = await of.remove(options);
    if (this.#registered.get(key) === mine) this.#registered.delete(key);
    return removed;
  }

  async #listen(
    name: string,
    listener: (event: ServiceEvent) => void,
    options: CallOptions | undefined,
  ): Promise<Unsubscribe> {
    this.#check();
    if (typeof listener !== 'function') {
      throw new InvalidArgumentError(`a listener is a function; got ${describe(listener)}`);
    }
    const watch = this.#begin(this.#prefixOf(name), {
      event: (event) => {
        callEach([listener], event);
      },
      ended: () => undefined,
    });
    const stop = (): void => void watch.close();
    try {
      await watch.open(options);
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }

  #make(key: string, service: Service): Mine {
    const failed = (error: unknown): void => {
      this.#failed(error, true);
    };
    const home = { client: this.#client, holder: this.#holder, failed };
    const mine: Mine = { of: new Registered(home, key, service), checks: undefined };
    const gone = (): void => {
      this.#forget(key, mine);
    };
    mine.of.signal.addEventListener('abort', gone, { once: true });
    return mine;
  }

  /** Keeps it registered no more. */
  #forget(key: string, mine: Mine): void {
    mine.checks?.stop();
    mine.of.end();
    if (this.#registered.get(key) === mine) this.#registered.delete(key);
  }

  #begin(prefix: string, on: Pick<ServiceListener, 'event' | 'ended'>): ServiceWatch {
    const watch: ServiceWatch = new ServiceWatch(this.#client, prefix, {
      event: on.event,
      failed: (error, again) => {
        this.#failed(error, again);
      },
      ended: (error) => {
        this.#watches.delete(watch);
        on.ended(error);
      },
    });
    this.#watches.add(watch);
    return watch;
  }

  /** @param again - Whether it is done again, so that nobody has to hear of it. */
  #failed(error: unknown, again: boolean): void {
    if (this.#onError !== undefined) callEach([this.#onError], error);
    else if (!again) throwUncaught(error);
  }

  #prefixOf(name: string): string {
    return prefixOf('service', this.#prefix, checkName(name, 'the name of a service'));
  }

  #check(): void {
    if (this.#closed) throw new ClosedError('the registry was closed; make another one to go on');
  }
}
