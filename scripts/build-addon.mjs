// Builds crates/node and puts it where its package and the loader look for it: npm/<platform>/.
//   node scripts/build-addon.mjs [--platform <name> --target <rust target triple>]
// Without arguments it builds for this machine. The release profile in Cargo.toml strips symbols.
import { copyFileSync, existsSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { must } from './lib/exec.mjs';
import { addonPath, hostPlatform, libraryName, requirePlatform, root } from './lib/platform.mjs';
import { needProtoc } from './lib/protoc.mjs';

const { values } = parseArgs({
  options: { platform: { type: 'string' }, target: { type: 'string' } },
});
const platform = requirePlatform(values.platform ?? hostPlatform());

const args = ['build', '--release', '-p', 'norikv-node'];
if (existsSync(path.join(root, 'Cargo.lock'))) args.push('--locked');
// cargo alone builds a musl target with a static C library, and a static one cannot be a shared library.
const env = platform.endsWith('musl') ? { RUSTFLAGS: '-C target-feature=-crt-static' } : {};
if (values.target !== undefined) args.push('--target', values.target);
await needProtoc();
await must('cargo', args, { env });

const targetDirectory = path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
const library = path.join(targetDirectory, values.target ?? '', 'release', libraryName(platform));
const addon = addonPath(platform);
// A new file, not the old one overwritten: a running process may have the old one mapped.
rmSync(addon, { force: true });
copyFileSync(library, addon);

const megabytes = statSync(addon).size / 1024 / 1024;
console.log(`${path.relative(root, addon)}: ${megabytes.toFixed(1)} MB`);
