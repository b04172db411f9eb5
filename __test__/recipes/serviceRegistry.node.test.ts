// Only Node has the proxy that loses replies and keeps a server away.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { LoadBalancer, ServiceRegistry } from '@norikv/client/recipes';
import type { Proxy } from '../faults/proxy';
import { remote } from './remote';
import type { Remote } from './remote';

let store: Remote;
let proxy: Proxy;
let client: NoriKVClient;
let other: NoriKVClient;

beforeEach(async () => {
  store = await remote();
  ({ proxy } = store);
  client = await NoriKVClient.open(store.through);
  other = await NoriKVClient.open(store.address);
});
afterEach(async () => {
  await Promise.all([client.close(), other.close()]);
  await store.stop();
});

const api = (id: string) => ({ name: 'api', id, address: '10.0.0.7', port: 8080 });

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}

test('a registration whose reply was lost is one, and is taken out (the naive one finds its own entry in the way)', async () => {
  await using registry = new ServiceRegistry(client, 'shop', 60_000);
  await registry.register(api('api-1'));
  store.holdReplies();
  const registering = registry.register(api('api-2'));
  await until(async () => (await other.count({ prefix: 'service/' })) === 2);
  proxy.cut();
  await registering;
  expect((await registry.discover('api')).map(({ id }) => id)).toEqual(['api-1', 'api-2']);

  store.holdReplies();
  const leaving = registry.deregister('api', 'api-2');
  await until(async () => (await other.count({ prefix: 'service/' })) === 1);
  proxy.cut();
  expect(await leaving).toBe(true);
});

test('a store that was away for longer than the lease has everything again once it is back; balancers go on meanwhile', async () => {
  const errors: unknown[] = [];
  await using registry = new ServiceRegistry(client, 'shop', 300, {
    onError: (error) => errors.push(error),
  });
  const registration = await registry.register(api('api-1'));
  await using balancer = new LoadBalancer(registry);
  expect((await balancer.getService('api')).service.id).toBe('api-1');
  await proxy.stop();
  await until(async () => (await other.count({ prefix: 'service/' })) === 0);
  expect((await balancer.getService('api')).service.id).toBe('api-1');
  await until(() => errors.length > 0);
  await proxy.accept();
  await until(async () => (await other.count({ prefix: 'service/' })) === 1);
  expect(registration.signal.aborted).toBe(false);
  await until(() =>
    balancer.getService('api').then(
      () => true,
      () => false,
    ),
  );
});
