import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { NodeBinding } from './binding.js';
import { useNodeBinding } from './binding.js';
import { UnsupportedError } from './errors.js';
import { VERSION } from './package.js';

export { VERSION };
export { bytesToString, keyToBytes, stringToBytes, valueToBytes } from './bytes.js';
export { NoriKVClient, createClient } from './client.js';
export { compare } from './compare.js';
export { ConsistencyLevel } from './consistency.js';
export { EphemeralNoriKV, createEphemeral } from './ephemeral.js';
export * from './errors.js';
export { op } from './op.js';
export { getShardForKey, initializeHasher, jumpConsistentHash, xxhash64 } from './placement.js';
export { retryPolicy } from './retry.js';
export { Version } from './version.js';

/** The platform, as the packages that carry its addon name it. */
function platform(): string {
  if (process.platform !== 'linux') {
    return `${process.platform}-${process.arch}${process.platform === 'win32' ? '-msvc' : ''}`;
  }
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  const libc = report.header?.glibcVersionRuntime === undefined ? 'musl' : 'gnu';
  return `linux-${process.arch}-${libc}`;
}

/** The addon: the one built in this tree where there is one, otherwise that of the platform's package. */
function load(): NodeBinding {
  const name = platform();
  const require = createRequire(__filename);
  const built = join(__dirname, '..', 'npm', name, `norikv.${name}.node`);
  try {
    return require(existsSync(built) ? built : `@norikv/client-${name}`) as NodeBinding;
  } catch (error) {
    throw new UnsupportedError(
      `NoriKV's addon for ${name} could not be loaded. If the package manager left out optional dependencies, ` +
        `install @norikv/client-${name}; on a platform that it is not built for, build it with npm run build:addon`,
      { cause: error },
    );
  }
}

const addon = load();
if (addon.version() !== VERSION) {
  throw new UnsupportedError(
    `@norikv/client ${VERSION} found an addon of version ${addon.version()}; install both in the same version`,
  );
}
useNodeBinding(addon);
