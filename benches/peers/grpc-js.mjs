// @grpc/grpc-js with code that it makes from the .proto file: one unary call each, on one connection.
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

export async function open({ address }) {
  const proto = fileURLToPath(new URL('../../proto/norikv/v1/norikv.proto', import.meta.url));
  const { norikv } = grpc.loadPackageDefinition(loadSync(proto, { longs: Number }));
  const client = new norikv.v1.Kv(address, grpc.credentials.createInsecure());
  const call = (method, request) =>
    new Promise((resolve, reject) => {
      client[method](request, (error, response) => (error ? reject(error) : resolve(response)));
    });
  return {
    get: (key) => call('Get', { key: Buffer.from(key) }),
    put: (key, value) => call('Put', { key: Buffer.from(key), value }),
    close: () => client.close(),
  };
}
