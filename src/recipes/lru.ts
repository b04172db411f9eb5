/** What an {@link Lru} holds: a key, a value, and its neighbours by use. */
export class LruNode<V> {
  /** The one that was used next before it, and next after it; itself, while it is in no list. */
  older: LruNode<V> = this;
  newer: LruNode<V> = this;

  constructor(
    readonly key: string,
    readonly value: V,
  ) {}
}

/**
 * At most so many values, by key; the one that was used least recently goes. The order of use is a list through the nodes: to
 * take a key out of a `Map` and put it in again, which keeps the order as well, takes three times as long.
 */
export class Lru<V> {
  readonly #nodes = new Map<string, LruNode<V>>();
  readonly #maxSize: number;
  #newest: LruNode<V> | undefined;

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** The node of a key. Looking is no use of it: {@link touch} is. */
  find(key: string): LruNode<V> | undefined {
    return this.#nodes.get(key);
  }

  /** That the node, which is in the list, was used. */
  touch(node: LruNode<V>): void {
    if (this.#newest === node) return;
    this.#unlink(node);
    this.#link(node);
  }

  /** Adds a value in the place of what the key had; answers how many others had to go for it: none or one. */
  set(key: string, value: V): number {
    this.delete(key);
    const node = new LruNode(key, value);
    this.#nodes.set(key, node);
    this.#link(node);
    if (this.#nodes.size <= this.#maxSize) return 0;
    // The list is a ring: what is newer than the newest is the oldest.
    this.delete(node.newer.key);
    return 1;
  }

  delete(key: string): void {
    const node = this.#nodes.get(key);
    if (node === undefined) return;
    this.#nodes.delete(key);
    this.#unlink(node);
  }

  clear(): void {
    this.#nodes.clear();
    this.#newest = undefined;
  }

  #link(node: LruNode<V>): void {
    const newest = this.#newest;
    if (newest !== undefined) {
      node.older = newest;
      node.newer = newest.newer;
      newest.newer.older = node;
      newest.newer = node;
    }
    this.#newest = node;
  }

  #unlink(node: LruNode<V>): void {
    if (this.#newest === node) this.#newest = node.older === node ? undefined : node.older;
    node.older.newer = node.newer;
    node.newer.older = node.older;
    node.older = node.newer = node;
  }
}
