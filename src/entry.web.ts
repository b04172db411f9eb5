// The build for browsers whose wasm is a file beside it. A module that imports this one runs when the wasm is there.
import init, { version } from './web/norikv.js';

export * from './web.js';

// Bundlers know this form, and put the file where the page finds it.
await init({ module_or_path: new URL('./norikv_bg.wasm', import.meta.url) });

/** The version of this package. */
export const VERSION: string = version();
