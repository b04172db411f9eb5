// The suite that its address names, in a worker.
import { runSuite } from './suite.js';

await runSuite(new URLSearchParams(location.search).get('suite') ?? '', (message) => {
  postMessage(message);
});
