// Builds crates/web and src/ for browsers: dist/web/norikv.js and dist/web/norikv_bg.wasm beside it, and
// dist/web/inline.js, which has the wasm within. Prints what a browser downloads, and fails if that is too much.
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { must, run } from './lib/exec.mjs';
import { root } from './lib/platform.mjs';
import { TARGET, wasmBindgen, wasmBuild } from './lib/wasm.mjs';

/** What a browser downloads for the client at most, compressed. */
const MOST_BYTES = 60 * 1024;

const require = createRequire(import.meta.url);
const glue = path.join(root, 'src', 'web');
const out = path.join(root, 'dist', 'web');
const targetDirectory = path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target', 'web');

const { args, env } = await wasmBuild();
const flags = ['build', '--profile', 'web', '-p', 'norikv-web', '--target-dir', targetDirectory];
await must('cargo', [...flags, ...args], { env });

const bindgen = await wasmBindgen((line) => console.log(line));
rmSync(glue, { recursive: true, force: true });
const library = path.join(targetDirectory, TARGET, 'web', 'norikv_web.wasm');
await must(bindgen, ['--target', 'web', '--out-dir', glue, '--out-name', 'norikv', library]);

const wasm = path.join(glue, 'norikv_bg.wasm');
const wasmOpt = path.join(path.dirname(require.resolve('binaryen/package.json')), 'bin', 'wasm-opt');
await must(process.execPath, [wasmOpt, '-Oz', '--all-features', '--strip-debug', '--strip-producers', wasm, '-o', wasm]);

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const { build } = await import('esbuild');
const bundle = {
  entryPoints: [path.join(root, 'src', 'entry.web.ts')],
  bundle: true,
  format: 'esm',
  target: 'es2022',
  platform: 'browser',
  minify: true,
  sourcemap: true,
  legalComments: 'none',
};
await build({ ...bundle, outfile: path.join(out, 'norikv.js') });
copyFileSync(wasm, path.join(out, 'norikv_bg.wasm'));

const files = ['norikv.js', 'norikv_bg.wasm'];
const sizes = files.map((file) => {
  const bytes = readFileSync(path.join(out, file));
  const quality = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return brotliCompressSync(bytes, { params: quality }).length;
});
const total = sizes.reduce((sum, size) => sum + size, 0);
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
for (const [at, file] of files.entries()) console.log(`dist/web/${file}: ${kib(sizes[at])} (brotli)`);
console.log(`a browser downloads ${kib(total)}; the most it may be is ${kib(MOST_BYTES)}`);
if (total > MOST_BYTES) process.exitCode = 1;
