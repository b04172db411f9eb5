// etcd through etcd3: a cluster of one, whose answer means that the write is on disk.
import { Etcd3 } from 'etcd3';

export async function open({ address }) {
  const client = new Etcd3({ hosts: `http://${address}` });
  return {
    get: (key) => client.get(key).buffer(),
    put: (key, value) => client.put(key).value(value).exec(),
    close: () => client.close(),
  };
}
