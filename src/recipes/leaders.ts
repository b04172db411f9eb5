import type { CallOptions, Entry, NoriKVClient } from '@norikv/client';
import { Deadline } from './deadline.js';
import { prefixOf } from './keys.js';
import { View } from './view.js';

/** The most leaders that an observer is told late; of more, the oldest are left out. */
const MAX_UNREAD = 1_000;

/** The entry that was created first. */
export function leaderOf(entries: Iterable<Entry>): Entry | null {
  let leader: Entry | null = null;
  for (const entry of entries) {
    if (leader === null || entry.createVersion.compare(leader.createVersion) < 0) leader = entry;
  }
  return leader;
}

/** Who leads, now and from now on. */
export async function* observeLeaders(
  client: NoriKVClient,
  name: string,
  options: CallOptions,
): AsyncGenerator<string | null, void, undefined> {
  const unread: (string | null)[] = [];
  let wake: () => void = () => undefined;
  let failure: { readonly error: unknown } | undefined;
  let last: Entry | null | undefined;
  const view = new View(client, prefixOf('election', name), (error) => {
    failure = { error };
    wake();
  });
  const look = (): void => {
    const leader = leaderOf(view.entries.values());
    // A leader with the same id as the one before is another leader.
    const same = last !== undefined && last?.version.toString() === leader?.version.toString();
    if (same) return;
    last = leader;
    unread.push(leader?.text() ?? null);
    if (unread.length > MAX_UNREAD) unread.shift();
    wake();
  };
  view.listen(look);
  const deadline = new Deadline(`observing "${name}"`, options, Infinity);
  try {
    await view.open(options);
    look();
    for (;;) {
      const next = unread.shift();
      if (next !== undefined) {
        yield next;
      } else if (failure !== undefined) {
        throw failure.error;
      } else {
        const woken = new Promise<void>((resolve) => (wake = resolve));
        await deadline.within(woken);
      }
    }
  } finally {
    await view.close();
  }
}
