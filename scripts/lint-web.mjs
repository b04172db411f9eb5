// Clippy over what is compiled for browsers alone, which `cargo clippy` for this machine does not see: crates/web, and
// what it takes of the other crates. Says so, and passes, where no clippy for that compiler is.
import path from 'node:path';
import { must } from './lib/exec.mjs';
import { targetDirectory, wasmClippy } from './lib/wasm.mjs';

const clippy = await wasmClippy();
if (clippy === undefined) {
  console.log('skipped: there is no clippy for the compiler that builds for browsers');
} else {
  const { command, args, env } = clippy;
  const where = ['--locked', '--target-dir', path.join(targetDirectory, 'web')];
  // A browser has one thread: what threads share elsewhere is shared with nobody there.
  const lints = ['--', '-D', 'warnings', '-A', 'clippy::arc_with_non_send_sync'];
  await must(command, ['clippy', '-p', 'norikv-web', ...where, ...args, ...lints], { env });
}
