// Recipes as they are often written: they check, then they write. The checks of the traces must see what is wrong with them.
const { compare } = require('@norikv/client');
const { wait } = require('./lib.cjs');

class DistributedLock {
  constructor(client, { key, ttlMs }) {
    Object.assign(this, { client, key, ttlMs, taken: false });
  }

  isHeld() {
    return this.taken;
  }

  async lock() {
    while ((await this.client.getOrNull(this.key)) !== null) await wait(5);
    this.token = await this.client.put(this.key, 'taken', { ttlMs: this.ttlMs });
    this.taken = true;
  }

  async unlock() {
    this.taken = false;
    await this.client.delete(this.key);
  }

  guard() {
    return compare(this.key).exists.equals(true);
  }
}

class DistributedCounter {
  constructor(client, name) {
    Object.assign(this, { client, name });
  }

  async incrementBy(amount) {
    const before = Number((await this.client.getOrNull(`naive/${this.name}`))?.text() ?? 0);
    await this.client.put(`naive/${this.name}`, String(before + amount));
  }
}

class RateLimiter {
  constructor(client) {
    this.client = client;
  }

  async checkLimit(id, { maxRequests, windowMs }) {
    const times = (await this.client.getOrNull(`naive/${id}`))?.json() ?? [];
    const recent = times.filter((time) => time > Date.now() - windowMs);
    const allowed = recent.length < maxRequests;
    if (allowed) await this.client.put(`naive/${id}`, JSON.stringify([...recent, Date.now()]));
    return { allowed };
  }
}

module.exports = {
  DistributedCounter,
  DistributedLock,
  RateLimiter,
  ShardedCounter: DistributedCounter,
};
