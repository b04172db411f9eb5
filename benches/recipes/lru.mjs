// lru-cache, with a time to live, as our cache has one.
import { LRUCache } from 'lru-cache';
import { LOCAL_KEYS, keyOf, profile } from './work.mjs';

export function open() {
  const cache = new LRUCache({ max: LOCAL_KEYS, ttl: 60_000 });
  for (let n = 0; n < LOCAL_KEYS; n++) cache.set(keyOf(n), { ...profile });
  return { hit: (n) => cache.get(keyOf(n % LOCAL_KEYS)) };
}
