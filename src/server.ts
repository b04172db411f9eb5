import './entry.node.js';
import type { Server, ServerOptions } from '../server.js';
import { startServer as start } from './serve.js';

/** Starts a server in this process. */
export function startServer(options: ServerOptions): Promise<Server> {
  return start(options);
}
