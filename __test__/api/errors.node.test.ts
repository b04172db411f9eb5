// Only on Node: servers in the process, and a port that browsers refuse to call.
import { test } from '@jest/globals';
import {
  ClosedError,
  EphemeralServerError,
  NoriKVClient,
  NoriKVError,
  createEphemeral,
} from '@norikv/client';
import { failure } from './errors';

test('errors of connecting and starting begin in the caller’s code', async () => {
  const client = new NoriKVClient({ nodes: ['127.0.0.1:1'], timeout: 300 });
  await failure(NoriKVError, () => client.connect());
  await failure(NoriKVError, () => client.get('a'));
  await failure(NoriKVError, () => client.status());
  await client.close();
  await failure(ClosedError, () => client.get('a'));
  await failure(EphemeralServerError, () => createEphemeral({ port: 70_000 }));
});
