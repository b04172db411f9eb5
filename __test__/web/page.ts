// What runs in the page: one suite, in the page itself or in a worker of it. Its address says which, and where.
import type { Message } from './suite.js';

declare global {
  /** What the program that drives the page hears; it puts this there. */
  var report: (message: Message) => Promise<void>;
}

const parameters = new URLSearchParams(location.search);
const suite = parameters.get('suite') ?? '';
const tell = (message: Message): void => {
  // Handed in by the program that drives the page.
  void globalThis.report(message);
};

if (parameters.get('where') === 'worker') {
  const worker = new Worker(`/__test__/web/worker.js?suite=${suite}`, { type: 'module' });
  worker.onmessage = ({ data }: MessageEvent<Message>) => {
    tell(data);
  };
  worker.onerror = (event) => {
    tell({ type: 'stray', detail: event.message });
  };
} else {
  const { runSuite } = await import('./suite.js');
  await runSuite(suite, tell);
}
