// The suite that its address names, in a worker.
import { runSuite } from './suite.js';

addEventListener('unhandledrejection', (event) => {
  // Told here, and once.
  event.preventDefault();
  const reason: unknown = event.reason;
  const detail = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
  postMessage({ type: 'stray', detail: `unhandled: ${detail}` });
});

await runSuite(new URLSearchParams(location.search).get('suite') ?? '', (message) => {
  postMessage(message);
});
