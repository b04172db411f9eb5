// A walk through the key-value API: a store on disk in this process, served over gRPC, and a second
// client that reaches it there. Every result is checked, so this is a test as well as a tour.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  AlreadyExistsError,
  InvalidArgumentError,
  KeyNotFoundError,
  NoriKVClient,
  VersionMismatchError,
} from '@norikv/client';
import { startServer } from '@norikv/client/server';

const directory = await mkdtemp(path.join(tmpdir(), 'norikv-quickstart-'));
try {
  const version = await inTheProcess();
  await overTheNetwork(version);
} finally {
  await rm(directory, { recursive: true, force: true });
}
title('Done: every result was as expected.');

/** Opens the store in this process and writes to it; answers the version of the greeting. */
async function inTheProcess() {
  title('A store on disk, in this process');
  const client = await NoriKVClient.open(`file:${directory}`);
  try {
    const version = await client.put('greeting', 'hello');
    show('put greeting', version);
    const entry = await client.get('greeting');
    show('get greeting', entry.text());
    assert.equal(entry.text(), 'hello');
    assert.ok(entry.version.equals(version));
    return version;
  } finally {
    await client.close();
  }
}

/** Serves the same directory, and does everything else from a client of the server. */
async function overTheNetwork(greetingVersion) {
  title('The same store, served over gRPC');
  const server = await startServer({ store: `file:${directory}`, listen: '127.0.0.1:0' });
  const client = await NoriKVClient.open(server.address);
  try {
    show('listening on', server.address);
    const greeting = await client.get('greeting');
    show('get greeting', `${greeting.text()} (still version ${greeting.version})`);
    assert.ok(greeting.version.equals(greetingVersion));

    await missingKeys(client);
    await conditionalWrites(client);
    await idempotentWrites(client);
    await expiry(client);
    await ranges(client);
    await contention(client);
    await namespaces(client);
    await statusAndStats(client);
  } finally {
    await client.close();
    await server.stop();
  }
}

async function missingKeys(client) {
  title('A missing key');
  show('getOrNull nobody', await client.getOrNull('nobody'));
  await refused('get nobody', KeyNotFoundError, client.get('nobody'));
}

async function conditionalWrites(client) {
  title('Conditional writes');
  const first = await client.put('stock', '7', { ifNotExists: true });
  show('put stock=7 if absent', first);
  await refused(
    'the same again',
    AlreadyExistsError,
    client.put('stock', '9', { ifNotExists: true }),
  );
  const second = await client.put('stock', '6', { ifMatchVersion: first });
  show(`put stock=6 if at ${first}`, second);
  const late = client.put('stock', '5', { ifMatchVersion: first });
  const error = await refused(`put stock=5 if at ${first}`, VersionMismatchError, late);
  assert.ok(error.actual?.equals(second), 'the error says which version was found');
  assert.equal((await client.get('stock')).text(), '6');
}

async function idempotentWrites(client) {
  title('A write that happens once, however often it is sent');
  const options = { idempotencyKey: 'order-4711' };
  const first = await client.put('orders/4711', 'two books', options);
  const again = await client.put('orders/4711', 'two books', options);
  show('first time', first);
  show('repeated', again);
  assert.ok(again.equals(first));
  const other = client.put('orders/4711', 'three books', options);
  await refused('another value under that key', InvalidArgumentError, other);
}

async function expiry(client) {
  title('Time to live');
  await client.put('session', 'Ada', { ttlMs: 150 });
  const { expiresAt } = await client.get('session');
  show('session expires in', `${expiresAt - Date.now()} ms`);
  const began = Date.now();
  while ((await client.getOrNull('session')) !== null) {
    assert.ok(Date.now() - began < 5_000, 'the session did not expire');
    await wait(10);
  }
  show('session', 'gone');
}

async function ranges(client) {
  title('Ranges');
  const names = ['Ada', 'Barbara', 'Grace', 'Katherine'];
  await Promise.all(names.map((name, n) => client.put(`user/${n}`, name)));
  const found = [];
  for await (const entry of client.scan({ prefix: 'user/' })) {
    found.push(`${entry.keyText()}=${entry.text()}`);
  }
  show('scan user/', found.join(' '));
  assert.equal(found.length, names.length);
  const last = await client.scan({ prefix: 'user/', reverse: true, limit: 1 }).toArray();
  show('the last of them', last[0].text());
  assert.equal(last[0].text(), 'Katherine');

  const many = await client.getMany(['user/0', 'user/9', 'user/2']);
  const texts = many.map((entry) => entry?.text() ?? 'none');
  show('getMany user/0 user/9 user/2', texts.join(' '));
  assert.deepEqual(texts, ['Ada', 'none', 'Grace']);

  show('delete user/0', await client.delete('user/0'));
  show('count user/', await client.count({ prefix: 'user/' }));
  assert.equal(await client.deleteRange({ prefix: 'user/' }), 3);
  assert.equal(await client.count({ prefix: 'user/' }), 0);
  show('after deleteRange', 0);
}

async function contention(client) {
  title('Sixteen writers, one counter');
  const addOne = () =>
    client.update('counter', (entry) => String(Number(entry?.text() ?? '0') + 1));
  await Promise.all(Array.from({ length: 16 }, addOne));
  const counter = await client.get('counter');
  show('counter', `${counter.text()} (put ${counter.generation} times)`);
  assert.equal(counter.text(), '16');
  assert.equal(counter.generation, 16);
}

async function namespaces(client) {
  title('A namespace');
  const acme = client.namespace('tenant/acme/');
  await acme.put('plan', JSON.stringify({ name: 'gold', seats: 5 }));
  show('plan, within tenant/acme/', (await acme.get('plan')).json());
  show('key, from outside', (await client.get('tenant/acme/plan')).keyText());
  assert.deepEqual((await acme.get('plan')).json(), { name: 'gold', seats: 5 });
}

async function statusAndStats(client) {
  title('What the store says of itself, and what the client counted');
  const status = await client.status();
  show('store', `${status.store}, version ${status.version}, ${status.sizes.diskBytes} bytes`);
  show('durability', status.durability);
  show('features', status.features.join(' '));
  assert.equal(status.durability, 'fsync');
  const { requests } = client.getStats();
  const { total, failed, retried, latencyMs } = requests;
  show('calls', `${total}, ${failed} failed, ${retried} retried`);
  show('latency', `p50 ${latencyMs.p50.toFixed(2)} ms, p99 ${latencyMs.p99.toFixed(2)} ms`);
  assert.equal(requests.inFlight, 0);
}

/** Shows how a call is refused, and answers its error. */
async function refused(what, ErrorClass, call) {
  const error = await call.then(
    () => assert.fail(`${what}: it was not refused`),
    (reason) => reason,
  );
  assert.ok(error instanceof ErrorClass, String(error));
  show(what, `${error.code}: ${error.message}`);
  return error;
}

function title(text) {
  console.log(`\n${text}`);
}

function show(what, value) {
  const text = typeof value === 'object' && value !== null ? printable(value) : String(value);
  console.log(`  ${what.padEnd(30)} ${text}`);
}

/** A version prints as "term.index", anything else as JSON. */
function printable(value) {
  return 'compare' in value ? `version ${value}` : JSON.stringify(value);
}
