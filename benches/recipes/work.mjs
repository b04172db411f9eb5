// What everyone is given to do.

/** How many ids "many ids" are. */
const IDS = 10_000;
export const idOf = (n) => `user-${n % IDS}`;

/** A limit that lets all through: a call that is let through is the one that writes. */
export const LIMIT = { maxRequests: 1_000_000, windowMs: 60_000 };

/** What a cache holds, all of which it has room for. */
export const LOCAL_KEYS = 1000;
export const keyOf = (n) => `user:${n}`;
export const profile = { id: '123', name: 'Alice', email: 'alice@example.com' };

/** How many events a history has that is read, and what each says. */
export const EVENTS = 10_000;
export const eventData = (n) => ({ amount: n % 1000, note: 'a deposit at the counter' });
