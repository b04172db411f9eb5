// How many bytes a second this machine reads from memory: `node bandwidth.mjs` prints it as JSON, for one thread and for
// all. It is the fastest of what the C library does over buffers that are larger than any cache.
import { once } from 'node:events';
import os from 'node:os';
import { Worker, isMainThread, parentPort } from 'node:worker_threads';

const SIZE = 256 * 1024 * 1024;
const ROUNDS = 5;

if (isMainThread) {
  const alone = await crew(1);
  const together = await crew(os.availableParallelism());
  console.log(JSON.stringify({ one: alone, all: together }));
  process.exit(0);
} else {
  const [a, b] = [Buffer.alloc(SIZE, 1), Buffer.alloc(SIZE, 1)];
  const ways = {
    compare: () => [a.compare(b), 2 * SIZE],
    indexOf: () => [a.indexOf(0xff), SIZE],
  };
  parentPort.postMessage('ready');
  parentPort.on('message', (way) => {
    parentPort.postMessage(ways[way]()[1]);
  });
}

/** The bytes that some threads read in a second, all of them at the same time. */
async function crew(threads) {
  const workers = Array.from({ length: threads }, () => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  let best = 0;
  for (let round = 0; round < ROUNDS; round++) {
    for (const way of ['compare', 'indexOf']) {
      const start = performance.now();
      const read = workers.map(async (worker) => {
        worker.postMessage(way);
        return (await once(worker, 'message'))[0];
      });
      const bytes = (await Promise.all(read)).reduce((sum, each) => sum + each, 0);
      best = Math.max(best, (bytes / (performance.now() - start)) * 1000);
    }
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  return best;
}
