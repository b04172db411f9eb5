// What `@norikv/client/server` is where no server can run. The error is that of the client's own build.
import { UnsupportedError } from '@norikv/client';
import type { Server, ServerOptions } from '../server.js';

/** Refuses: a server needs sockets. */
export function startServer(_options: ServerOptions): Promise<Server> {
  return Promise.reject(
    new UnsupportedError(
      '@norikv/client/server is for Node: a browser cannot start a server; start one with norikv serve, and give its address',
    ),
  );
}
