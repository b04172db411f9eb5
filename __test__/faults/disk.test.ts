// A disk that is full: here, a process that may write no file beyond a size.
import { describe, expect, test } from '@jest/globals';
import { NoriKVClient, ResourceExhaustedError } from '@norikv/client';
import type { Version } from '@norikv/client';
import { serve, temporary } from './children';

/** The full disk is a limit of the process that a shell sets, which Windows has not. */
const onUnix = process.platform === 'win32' ? describe.skip : describe;

onUnix('a disk that is full', () => {
  test('refuses writes and says why; reads work, and nothing acknowledged is lost', async () => {
    const store = `file:${temporary()}`;
    // 64 MiB, in blocks of 512 bytes: what the storage engine reserves for its journal fits, and no more.
    const limit = ['sh', '-c', 'ulimit -f 131072 && exec "$@"', 'sh'];
    const server = await serve(store, { prefix: limit });
    const client = await NoriKVClient.open(server.address);
    const acknowledged = new Map<string, Version>();
    let refused: unknown;
    for (let at = 0; refused === undefined && at < 2000; at++) {
      const key = `key:${at}`;
      // Noise: what can be compressed would not fill a disk.
      const value = crypto.getRandomValues(new Uint8Array(65_536));
      await client.put(key, value, { timeoutMs: 10_000 }).then(
        (version) => acknowledged.set(key, version),
        (error: unknown) => (refused = error),
      );
    }
    expect(refused).toBeInstanceOf(ResourceExhaustedError);
    expect(refused).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(acknowledged.size).toBeGreaterThan(10);

    const keys = [...acknowledged.keys()];
    for (const key of keys.slice(-5)) {
      const entry = await client.get(key);
      expect(entry.version.equals(acknowledged.get(key)!)).toBe(true);
    }
    expect((await client.status()).store).toBe('file');
    await client.close();
    server.kill('SIGKILL');
    await server.ended;

    const roomy = await serve(store);
    const again = await NoriKVClient.open(roomy.address);
    for (const [key, version] of acknowledged) {
      expect((await again.get(key)).version.equals(version)).toBe(true);
    }
    expect(await again.count({})).toBeLessThanOrEqual(acknowledged.size + 1);
    await again.put('room', 'again');
    await again.close();
    roomy.kill('SIGTERM');
    expect((await roomy.ended).code).toBe(0);
  }, 60_000);
});
