// The build with the wasm within, for whatever has no addon and no file beside it. It is there at once: it waits for
// nothing, so that it can be bundled as a classic script and be required.
import { bytesOf } from './inlined.js';
import { initSync, version } from './web/norikv.js';
import { wasm } from './web/wasm.js';

export * from './web.js';

initSync({ module: bytesOf(wasm) });

/** The version of this package. */
export const VERSION: string = version();
