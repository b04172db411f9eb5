// etcd through etcd3: a cluster of one, whose answer means that the write is on disk.
import { Etcd3 } from 'etcd3';

export async function open({ address }) {
  const client = new Etcd3({ hosts: `http://${address}` });
  const put = (key, value) => client.put(key).value(value).exec();
  return {
    get: (key) => client.get(key).buffer(),
    put,
    txn: (key, value) =>
      client.if(key, 'Version', '>', 0).then(client.put(key).value(value)).commit(),
    async putAll(pairs) {
      const puts = pairs.map(([key, value]) => client.put(key).value(value));
      const { header } = await client
        .if('never', 'Version', '==', 0)
        .then(...puts)
        .commit();
      return header.revision;
    },
    async watch(prefix, onEvent, from) {
      const watch = client.watch().prefix(prefix);
      if (from !== undefined) watch.startRevision(from);
      const watcher = await watch.create();
      watcher.on('put', ({ value }) => onEvent(value.toString()));
      return () => watcher.cancel();
    },
    load: (pairs) => Promise.all(pairs.map(([key, value]) => put(key, value))),
    close: () => client.close(),
  };
}
