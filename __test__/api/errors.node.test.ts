// Only on Node.
import { expect, test } from '@jest/globals';
import {
  ClosedError,
  EphemeralServerError,
  InvalidArgumentError,
  NoriKVClient,
  NoriKVError,
  UnsupportedError,
  createClient,
  createEphemeral,
} from '@norikv/client';
import { failure } from './errors';

test('addresses of stores that are not there yet are an UnsupportedError', async () => {
  const error = await failure(UnsupportedError, () => NoriKVClient.open('etcd://127.0.0.1:2379'));
  expect(error.message).toContain('etcd://127.0.0.1:2379');
});

test('errors of constructing, connecting and starting begin in the caller’s code', async () => {
  await failure(InvalidArgumentError, () => new NoriKVClient('nowhere'));
  await failure(InvalidArgumentError, () => NoriKVClient.open('nowhere'));
  await failure(InvalidArgumentError, () => createClient('nowhere'));
  const client = new NoriKVClient({ nodes: ['127.0.0.1:1'], timeout: 300 });
  await failure(NoriKVError, () => client.connect());
  await failure(NoriKVError, () => client.get('a'));
  await failure(NoriKVError, () => client.status());
  await client.close();
  await failure(ClosedError, () => client.get('a'));
  await failure(EphemeralServerError, () => createEphemeral({ port: 70_000 }));
});
