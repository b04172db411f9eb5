// Service discovery: instances register themselves, callers choose among them, and who dies is gone.
import { setTimeout as sleep } from 'node:timers/promises';
import { LoadBalancer, ServiceRegistry, Strategy } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

await using client = await openClient();
const prefix = 'example-discovery';

// Who calls: it watches.
await using caller = new ServiceRegistry(client, prefix, 5_000);
const there = new Set<string>();
await caller.watch('api', ({ type, service }) => {
  console.log(`${type}: ${service.id} at ${service.address}:${service.port}`);
  if (type === 'removed') there.delete(service.id);
  else there.add(service.id);
});
const sees = async (count: number): Promise<void> => {
  while (there.size !== count) await sleep(1);
};

// Three instances. Each would be a process of its own, with its own registry object.
const instances: ServiceRegistry[] = [];
for (const [at, weight] of ['5', '1', '1'].entries()) {
  const instance = new ServiceRegistry(client, prefix, 5_000);
  instances.push(instance);
  const service = { name: 'api', id: `api-${at + 1}`, address: '10.0.0.7', port: 8_080 + at };
  await instance.register({ ...service, metadata: { region: 'eu', weight } });
}
await sees(3);

for (const strategy of Object.values(Strategy)) {
  await using balancer = new LoadBalancer(caller, strategy);
  const counts = new Map<string, number>();
  for (let call = 0; call < 7; call += 1) {
    const { service, release } = await balancer.getService('api');
    counts.set(service.id, (counts.get(service.id) ?? 0) + 1);
    release();
  }
  console.log(`${strategy}:`, Object.fromEntries([...counts].sort()));
  if (strategy === Strategy.Weighted) check(counts.get('api-1') === 5, 'weights are kept');
}

// The same id twice is a mistake, unless it is meant.
const twin = new ServiceRegistry(client, prefix, 5_000);
const api1 = { name: 'api', id: 'api-1', address: '10.0.0.9', port: 9_090 };
const refused = await twin.register(api1).catch((error: unknown) => String(error));
console.log('refused:', refused);
await twin.register(api1, { replace: true });
await instances[0]?.close();
const [first] = await caller.discover('api');
check(first?.port === 9_090, 'who was replaced deletes nothing');
console.log('api-1 was replaced, and its old registry is closed: it is still there');

for (const registry of [twin, ...instances]) await registry.close();
await sees(0);
check((await caller.discover('api')).length === 0, 'nobody is left');
console.log('done');
