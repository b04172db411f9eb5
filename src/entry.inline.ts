// The build with the wasm within, for whatever has no addon and no file beside it. It is there at once: it waits for
// nothing, so that it can be bundled as a classic script and be required.
import { initSync, version } from './web/norikv.js';
import { wasm } from './web/inlined.js';

export * from './web.js';

initSync({ module: Uint8Array.from(atob(wasm), (character) => character.charCodeAt(0)) });

/** The version of this package. */
export const VERSION: string = version();
