// Reserves stock that all share, and sells it, gives it back, or forgets it.
const { NotFoundError } = require('@norikv/client');
const { InsufficientStockError, InventoryManager } = require('@norikv/client/recipes');
const { begin, tell, tellError, wait } = require('./lib.cjs');

const LANES = 3;
const SKU = 'shared';

void begin(async ({ client, settings, going }) => {
  const inventory = new InventoryManager(client);
  const { ttlMs } = settings;

  const attempt = async (lane, [begins, done], name, amount, call) => {
    tell(begins, { lane, name, amount });
    try {
      const answer = await call();
      tell(done, { lane, name: name ?? answer });
      return answer;
    } catch (error) {
      if (error instanceof InsufficientStockError) tell('refused', { lane, name });
      else if (error instanceof NotFoundError) tell('gone', { lane, name });
      else tellError(error, { lane, name });
      return undefined;
    }
  };

  const once = async (lane) => {
    const amount = 1 + Math.floor(Math.random() * 3);
    const id = await attempt(lane, ['reserves', 'reserved'], undefined, amount, () =>
      inventory.reserve(SKU, amount, { ttlMs }),
    );
    if (id === undefined) {
      await wait(Math.random() * 50);
      return;
    }
    const commit = () =>
      attempt(lane, ['commits', 'committed'], id, amount, () => inventory.commit(id));
    const release = () =>
      attempt(lane, ['releases', 'released'], id, amount, () => inventory.release(id));
    await wait(Math.random() * 10);
    const fate = Math.random();
    if (fate < 0.05) {
      await commit();
      // Neither of these changes anything.
      if (fate < 0.015) await inventory.commit(id).catch(() => {});
      else if (fate < 0.03) await inventory.release(id).catch(() => {});
    } else if (fate < 0.7) {
      await release();
      if (fate < 0.2) await commit();
    } else if (fate < 0.8) {
      await inventory.extend(id, ttlMs).catch(() => {});
      await release();
    }
  };

  const work = async (lane) => {
    while (going()) await once(lane);
  };
  const look = async () => {
    while (going()) {
      try {
        tell('finds', { lane: LANES, amount: await inventory.getAvailable(SKU) });
      } catch (error) {
        tellError(error, { lane: LANES });
      }
      await wait(50);
    }
  };
  await Promise.all([look(), ...Array.from({ length: LANES }, (_, lane) => work(lane))]);
});
