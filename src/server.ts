import './entry.node.js';

export { startServer } from './serve.js';
