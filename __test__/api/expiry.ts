import type { Key, NoriKVClient } from '@norikv/client';

/** Reads until an entry that expires is gone. There is no event for it before there are watches. */
export async function untilGone(client: NoriKVClient, key: Key): Promise<void> {
  for (;;) {
    const entry = await client.getOrNull(key);
    if (entry === null) return;
    const left = Math.max(1, (entry.expiresAt ?? Date.now()) - Date.now());
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, 50)));
  }
}
