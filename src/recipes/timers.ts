/** Lets a process end while a timer is set. Node's timers keep it alive otherwise; those of browsers have nothing to keep. */
export function unref(timer: ReturnType<typeof setTimeout>): void {
  (timer as { unref?: () => void }).unref?.();
}

/** Waits, or until the signal fires. It keeps a process alive, unless it is to be `idle`. */
export async function pause(ms: number, signal?: AbortSignal, idle?: 'idle'): Promise<void> {
  if (signal?.aborted === true) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (idle !== undefined) unref(timer);
    signal?.addEventListener('abort', done, { once: true });
  });
}
