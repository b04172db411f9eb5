// What a recipe leaves behind: `node program.cjs <address> <what> <name>` does something with a recipe, prints what is left of
// it as JSON on one line, closes the client, prints the time, and must then end by itself.
const { readdirSync } = require('node:fs');
const { setTimeout: wait } = require('node:timers/promises');

const [address, what, name] = process.argv.slice(2);

/** Before it are the store's own keys, such as those of vectors. */
const FIRST = '\x01';

// Timers that were set and neither fired nor were cleared, also those that keep no process alive.
const timers = new Set();
for (const kind of ['Timeout', 'Interval']) {
  const [set, clear] = [globalThis[`set${kind}`], globalThis[`clear${kind}`]];
  globalThis[`set${kind}`] = (call, ms, ...args) => {
    const timer = set(() => {
      if (kind === 'Timeout') timers.delete(timer);
      call(...args);
    }, ms);
    timers.add(timer);
    return timer;
  };
  globalThis[`clear${kind}`] = (timer) => {
    timers.delete(timer);
    clear(timer);
  };
}

const { NoriKVClient } = require('@norikv/client');
const rounds = require('./rounds.cjs');
const uses = require('./uses.cjs');

/** A client whose leases and watches are known. */
function observed(inner) {
  const leases = new Set();
  const watches = new Set();

  const follow = (watch) => {
    watches.add(watch);
    const over = () => watches.delete(watch);
    const [close, iterate] = [watch.close, watch[Symbol.asyncIterator]];
    watch.close = async () => {
      await close.call(watch);
      over();
    };
    watch[Symbol.asyncDispose] = watch.close;
    watch[Symbol.asyncIterator] = () => {
      const batches = iterate.call(watch);
      return {
        [Symbol.asyncIterator]() {
          return this;
        },
        async next() {
          const batch = await batches.next().catch((error) => {
            over();
            throw error;
          });
          if (batch.done) over();
          return batch;
        },
        async return() {
          over();
          return batches.return();
        },
      };
    };
    return watch;
  };

  const remember = (lease) => {
    leases.add(lease);
    return lease;
  };
  const observe = (part) =>
    new Proxy(part, {
      get(of, key) {
        const value = Reflect.get(of, key, of);
        if (typeof value !== 'function') return value;
        return (...args) => {
          const answer = Reflect.apply(value, of, args);
          if (key === 'watch') return follow(answer);
          if (key === 'lease') return answer.then(remember);
          // A namespace is a client as any other.
          return key === 'namespace' ? observe(answer) : answer;
        };
      },
    });

  /** What is open now. */
  const left = async () => ({
    keys: await inner.count({ start: FIRST }),
    leases: [...leases].filter((lease) => !lease.signal.aborted).length,
    watches: watches.size,
    timers: timers.size,
    alive: process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length,
  });
  return { client: observe(inner), left };
}

/** What the process has of the machine, once it is at rest. */
async function handles() {
  await wait(300);
  const count = (of) => {
    try {
      return readdirSync(`/proc/self/${of}`).length;
    } catch {
      return 0; // Linux has it, others do not
    }
  };
  return { descriptors: count('fd'), threads: count('task') };
}

/** Begins something, ends it by its signal, and waits until it is over, however it ended. */
async function aborted(begin, afterMs = 20) {
  const controller = new AbortController();
  const over = Promise.resolve(begin(controller.signal)).then(
    () => 'done',
    (error) => error,
  );
  if (afterMs > 0) await Promise.race([over, wait(afterMs)]);
  controller.abort(new Error('enough'));
  const end = await over;
  if (end === 'done' || end.code === 'CANCELLED' || end.message === 'enough') return;
  throw end;
}

async function main() {
  const inner = await NoriKVClient.open(address);
  // Others had the store before.
  for (const { namespace } of await inner.vectorIndexes()) await inner.vectorDropIndex(namespace);
  await inner.deleteRange({ start: FIRST });
  const { client, left } = observed(inner);
  const before = await left();
  if (what === 'rounds') {
    const each = rounds[name](client);
    for (let n = 0; n < 20; n++) await each.round(n);
    const first = { ...(await handles()), ...(await left()) };
    for (let n = 20; n < 220; n++) await each.round(n);
    const last = { ...(await handles()), ...(await left()) };
    await each.close?.();
    console.log(JSON.stringify([first, last, await left()]));
  } else {
    await uses[name][what]({ client, aborted, wait });
    await wait(50); // what was ended may take a moment to be over
    console.log(JSON.stringify([before, await left()]));
  }
  await inner.close();
  console.log(Number(process.hrtime.bigint()) / 1e6);
}

void main();
