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

/** Runs `work` until it is told to end. */
async function begin(work) {
  let going = true;
  process.once('SIGTERM', () => (going = false));
  const client = await NoriKVClient.open({ nodes: [address], timeout: 10_000 });
  process.stdout.write('ready\n');
  await work({ client, name, settings: JSON.parse(settings), going: () => going });
  await client.close();
}

module.exports = { begin, now, tell, tellError, wait };
