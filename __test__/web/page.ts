// What runs in the page: one suite, in the page itself or in a worker of it. Its address says which, and where.
import type { Message } from './suite.js';

const parameters = new URLSearchParams(location.search);
const suite = parameters.get('suite') ?? '';
const report = (message: Message): void => {
  // Handed in by the program that drives the page.
  void (globalThis as unknown as { report(message: Message): Promise<void> }).report(message);
};

if (parameters.get('where') === 'worker') {
  const worker = new Worker(`/__test__/web/worker.js?suite=${suite}`, { type: 'module' });
  worker.onmessage = ({ data }: MessageEvent<Message>) => {
    report(data);
  };
  worker.onerror = (event) => {
    report({ type: 'stray', detail: event.message });
  };
} else {
  const { runSuite } = await import('./suite.js');
  await runSuite(suite, report);
}
