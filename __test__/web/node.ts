// The suite that is named, in Node with the build for browsers.
import { runSuite } from './suite.js';

// A page has its origin to ask; here it is told.
Object.assign(globalThis, { NORIKV_CONTROL: process.env.NORIKV_CONTROL });

await runSuite(process.argv[2] ?? '', (message) => {
  process.send?.(message);
});
process.disconnect();
