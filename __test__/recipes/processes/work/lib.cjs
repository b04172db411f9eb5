// What each process of a crew has: `node <work> <address> <trace> <name> <settings as JSON>` opens a client, says that it is
// ready, and works until it gets a SIGTERM. What it writes down is in the file before the next thing happens.
const { openSync, writeSync } = require('node:fs');
const { setTimeout: wait } = require('node:timers/promises');
const { NoriKVClient } = require('@norikv/client');

const [address, file, name, settings] = process.argv.slice(2);
const trace = openSync(file, 'a');

/** The machine's monotonic clock in milliseconds. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

/** Writes a line down. */
function tell(what, more = {}, at = now()) {
  writeSync(trace, `${JSON.stringify({ at, what, ...more })}\n`);
}

/** What is known of a call that failed. */
function tellError(error, more = {}) {
  tell(error.outcome === 'unknown' ? 'unknown' : 'failed', { ...more, error: String(error) });
}

/** How long one looks again and again without a pause, and how often, in milliseconds. */
const STARE_MS = 3;
const GLANCE_MS = 0.2;

/** Looks again and again while nothing else goes on: one that stood still meanwhile looks before it hears of anything. */
function stare(look) {
  const until = now() + STARE_MS;
  while (now() < until) {
    if (!look()) return false;
    const next = now() + GLANCE_MS;
    while (now() < next);
  }
  return true;
}

/** Runs `work` until it is told to end. */
async function begin(work) {
  let going = true;
  process.once('SIGTERM', () => (going = false));
  const client = await NoriKVClient.open({ address, timeout: 10_000 });
  process.stdout.write('ready\n');
  await work({ client, name, settings: JSON.parse(settings), going: () => going });
  await client.close();
}

module.exports = { begin, now, stare, tell, tellError, wait };
