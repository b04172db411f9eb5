/**
 * What a binding does: carries frames of bytes between this layer and the core. Both bindings implement it, and
 * neither decides anything.
 */
export interface Binding {
  /** The version of the core that it carries frames to. */
  version(): string;
  /**
   * Makes a client of a frame of settings. Answers its number, or the frame of an error.
   *
   * `page` is shared with `getNow`. `deliver` is called with frames of replies; it does not keep the process alive.
   */
  createClient(
    config: Uint8Array,
    page: Uint8Array,
    deliver: (replies: Uint8Array) => void,
  ): number | Uint8Array;
  /** Lets go of a client; its calls get no answer. */
  destroyClient(client: number): void;
  /** Sends a frame of calls, and keeps the process alive until `release`. An empty frame only does the latter. */
  submit(client: number, calls: Uint8Array): void;
  /** Lets the process exit: no call is pending. */
  release(client: number): void;
  /**
   * Reads the key whose namespace prefix and bytes are on the page, and writes the entry there. Answers its length,
   * 0 if the key is missing, -1 if the store cannot answer at once, -2 if the page has the frame of an error.
   */
  getNow(client: number, prefixLength: number, keyLength: number, consistency: number): number;
  /**
   * How long a lease of the client has left without a keep-alive, in milliseconds: 0 if it is lost, -1 if the client
   * does not hold it.
   */
  leaseLeft(client: number, lease: bigint): number;
  /** What the client counted of its own work. */
  stats(client: number): Uint8Array | null;
  /** The cluster's view, if it is known. */
  clusterView(client: number): Uint8Array | null;
  /** The xxHash64 of a key with seed 0. */
  xxhash64(key: Uint8Array): bigint;
  /** The bucket of a hash by the jump consistent hash. */
  jumpConsistentHash(hash: bigint, buckets: number): number;
}

/** What only the Node binding does. */
export interface NodeBinding extends Binding {
  /** Starts a server of settings in JSON. Resolves with its number and address, or the frame of an error. */
  startServer(settings: string): Promise<StartedServer | Uint8Array>;
  /** Stops a server and closes its store. Resolves with `null`, or the frame of an error. */
  stopServer(server: number): Promise<Uint8Array | null>;
  /** Runs the `norikv` command and resolves with its exit code. */
  runCli(args: string[]): Promise<number>;
}

/** A server that `startServer` started. */
export interface StartedServer {
  readonly id: number;
  readonly address: string;
}

let current: Binding | undefined;
let node: NodeBinding | undefined;

/** Hands in the binding. Called once, by the entry file that loaded it. */
export function useBinding(binding: Binding): void {
  current = binding;
}

/** Hands in Node's binding. */
export function useNodeBinding(binding: NodeBinding): void {
  current = node = binding;
}

/** Node's binding. */
export function nodeBinding(): NodeBinding {
  if (node === undefined) throw new Error('this part of @norikv/client is for Node only');
  return node;
}

/** The binding that was handed in. */
export function binding(): Binding {
  if (current === undefined) {
    throw new Error('@norikv/client was loaded without its binding; import the package itself');
  }
  return current;
}
