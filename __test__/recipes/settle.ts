import type { NoriKVClient } from '@norikv/client';

/** Whether a promise has settled by now, without waiting for it. */
export async function settled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending');
  const first = await Promise.race([
    promise.then(
      () => undefined,
      () => undefined,
    ),
    Promise.resolve(pending),
  ]);
  return first !== pending;
}

/** Waits until the keys of a store are as many as that: what a watch or a queue does meanwhile is not awaited otherwise. */
export async function keysBecome(
  client: NoriKVClient,
  prefix: string,
  wanted: number,
): Promise<void> {
  const watch = client.watch({ prefix });
  try {
    await watch.ready;
    const batches = watch[Symbol.asyncIterator]();
    while ((await client.count({ prefix })) !== wanted) await batches.next();
  } finally {
    await watch.close();
  }
}

/** Resolves with the reason once a signal fires. */
export async function fired(signal: AbortSignal): Promise<unknown> {
  if (!signal.aborted) {
    await new Promise((resolve) => {
      signal.addEventListener('abort', resolve, { once: true });
    });
  }
  return signal.reason;
}
