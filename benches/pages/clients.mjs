// All that a page needs of connect-web, with code generated from our .proto files, for the services that we have.
import { createClient } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';
import { Lease } from 'generated/norikv/ext/v1/lease_pb.js';
import { Store } from 'generated/norikv/ext/v1/store_pb.js';
import { Watch } from 'generated/norikv/ext/v1/watch_pb.js';
import { Kv, Meta } from 'generated/norikv/v1/norikv_pb.js';

export function clients(address) {
  const transport = createGrpcWebTransport({ baseUrl: `http://${address}` });
  return [Kv, Meta, Store, Watch, Lease].map((service) => createClient(service, transport));
}
