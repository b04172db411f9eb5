// Locks, uses what the lock protects, unlocks. What it writes of holding is what it certainly knew: see `intervalsOf`.
const { op } = require('@norikv/client');
const recipes = require('@norikv/client/recipes');
const { begin, now, stare, tell, tellError, wait } = require('./lib.cjs');
const naive = require('./naive.cjs');

/** The longest that the lock is held, mostly and now and then, in milliseconds. */
const HOLD_MS = 20;
const LONG_MS = 400;

void begin(async ({ client, name, settings, going }) => {
  const { DistributedLock } = settings.naive ? naive : recipes;
  const lock = new DistributedLock(client, { key: 'shared', ttlMs: settings.ttlMs });

  /** Looks whether the lock is still held, and says so as of before the look. */
  const look = () => {
    const at = now();
    const held = lock.isHeld();
    if (held) tell('still', {}, at);
    return held;
  };

  const hold = async () => {
    const token = String(lock.token);
    if (!lock.isHeld()) return;
    tell('holds', { token });
    const until = now() + Math.random() * (Math.random() < 0.2 ? LONG_MS : HOLD_MS);
    while (stare(look) && now() < until) {
      const write = op.put('protected', JSON.stringify({ token, name }));
      await client.txn().if(lock.guard()).then(write).commit();
      await wait(Math.random() * 5);
    }
    look();
  };

  while (going()) {
    try {
      await lock.lock();
      try {
        await hold();
      } finally {
        tell('lets go');
        await lock.unlock();
      }
    } catch (error) {
      tellError(error);
    }
    await wait(Math.random() * 5);
  }
  await lock.close?.();
});
