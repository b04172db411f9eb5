// A process of its own for one store that is measured: `node worker.mjs <file in peers/> <settings as JSON>`.
// It says `{}` when the store is open and filled, then answers each line of stdin (what to measure) with one of
// its own. `rust-client` speaks the same. It ends when stdin does.
import { createInterface } from 'node:readline';
import { load, measure } from './loop.mjs';

const [peer, settings] = process.argv.slice(2);
const { open } = await import(new URL(`../peers/${peer}.mjs`, import.meta.url));
const { keys = 0, ...options } = JSON.parse(settings);
const store = await open(options);
if (keys > 0) await load(store, keys);

const answer = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
answer({});
for await (const line of createInterface({ input: process.stdin })) {
  answer(await measure(store, JSON.parse(line)));
}
await store.close?.();
process.exit(0);
