// Only on Node: servers in the process, and the disk.
import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, test } from '@jest/globals';
import {
  ClosedError,
  EphemeralNoriKV,
  EphemeralServerError,
  NoriKVClient,
  createEphemeral,
} from '@norikv/client';
import { failure } from './errors';

describe('an ephemeral server', () => {
  // Its directory is under the system's folder for temporary files; in this suite under one of our own.
  const before = new Set(readdirSync(tmpdir()));
  afterAll(() => {
    const left = readdirSync(tmpdir()).filter((name) => /^norikv-[^-]*$/.test(name));
    expect(left.filter((name) => !before.has(name) && existsSync(name))).toEqual([]);
  });

  test('starts on a free port of the loopback, and has a client', async () => {
    const server = await createEphemeral();
    expect(server.address).toMatch(/^127\.0\.0\.1:\d+$/);
    const client = server.getClient();
    expect(server.getClient()).toBe(client);
    await client.put('a', '1');
    const other = await NoriKVClient.open({ nodes: [server.address] });
    expect((await other.get('a')).text()).toBe('1');
    expect((await other.status()).store).toBe('file');
    await other.close();
    await server.stop();
    await failure(ClosedError, () => client.get('a'));
  });

  test('stopping twice is stopping once, and it can start again, empty', async () => {
    const server = new EphemeralNoriKV();
    await server.stop();
    await server.start();
    await server.getClient().put('a', '1');
    await Promise.all([server.stop(), server.stop()]);
    await server.start();
    expect(await server.getClient().getOrNull('a')).toBeNull();
    await server.stop();
  });

  test('a client that fails to close keeps neither the server nor the directory', async () => {
    const server = await createEphemeral();
    const client = server.getClient();
    const { address } = server;
    const close = client.close.bind(client);
    client.close = async () => {
      await close();
      throw new Error('not closed');
    };
    const stops = await Promise.allSettled([server.stop(), server.stop()]);
    expect(stops.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const again = await createEphemeral({ port: Number(address.split(':')[1]) });
    await again.stop();
  });

  test('says when it is not running, or runs already', async () => {
    await using server = new EphemeralNoriKV();
    await failure(EphemeralServerError, () => server.address);
    await failure(EphemeralServerError, () => server.getClient());
    await server.start();
    await failure(EphemeralServerError, () => server.start());
    await server.stop();
    await failure(EphemeralServerError, () => server.getClient());
  });

  test('several run side by side, and nothing of one is in another', async () => {
    const servers = await Promise.all(Array.from({ length: 4 }, () => createEphemeral()));
    expect(new Set(servers.map(({ address }) => address)).size).toBe(4);
    await servers[0]!.getClient().put('a', '1');
    expect(await servers[1]!.getClient().getOrNull('a')).toBeNull();
    await Promise.all(servers.map((server) => server.stop()));
  });

  test('a port that is taken is an EphemeralServerError with its cause', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => {
      taken.listen(0, '127.0.0.1', () => {
        resolve();
      });
    });
    const { port } = taken.address() as AddressInfo;
    const error = await failure(EphemeralServerError, () => createEphemeral({ port })).finally(
      () => new Promise((resolve) => taken.close(resolve)),
    );
    expect(error.cause).toMatchObject({ code: 'CONNECTION' });
    const server = await createEphemeral({ port });
    expect(server.address).toBe(`127.0.0.1:${port}`);
    await server.stop();
  });

  test('await using stops it', async () => {
    let address: string;
    {
      await using server = await createEphemeral();
      ({ address } = server);
      await server.getClient().put('a', '1');
    }
    const client = new NoriKVClient({ nodes: [address], timeout: 500 });
    await expect(client.get('a')).rejects.toMatchObject({ retryable: true });
    await client.close();
  });
});
