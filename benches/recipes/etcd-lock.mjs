// The lock of etcd3.
import { Etcd3 } from 'etcd3';

export function open({ address }) {
  const client = new Etcd3({ hosts: `http://${address}` });
  return {
    async lock() {
      const lock = client.lock('bench').ttl(10);
      await lock.acquire();
      await lock.release();
    },
    close: () => client.close(),
  };
}
