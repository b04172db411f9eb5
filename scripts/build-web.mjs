// Builds crates/web and src/ for browsers, into dist/web/:
//   norikv.js with norikv_bg.wasm beside it   for bundlers that put the file where the page finds it, and for none
//   inline.js, inline.cjs                     the same with the wasm within
//   server.js, server.cjs                     what says that no server runs there
//   node scripts/build-web.mjs
// Prints what a browser downloads, and fails if that is too much. With a toolchain that cannot build std it is more, and is
// said and no failure.
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { build } from 'esbuild';
import { must } from './lib/exec.mjs';
import { root } from './lib/platform.mjs';
import { asText } from './lib/text.mjs';
import { TARGET, targetDirectory, wasmBindgen, wasmBuild } from './lib/wasm.mjs';

/** What a browser is to download for the client, compressed. */
const GOAL_BYTES = 60 * 1024;
/** What it is today, and no more: it goes up for what is new, and for nothing else (docs/decisions/0012-browser-core.md). */
const MOST_BYTES = 170 * 1024;

/** What every browser has had since 2022. `--all-features` would write types that none has. */
const FEATURES = [
  'bulk-memory',
  'bulk-memory-opt',
  'nontrapping-float-to-int',
  'sign-ext',
  'mutable-globals',
  'reference-types',
  'multivalue',
];

const require = createRequire(import.meta.url);
const glue = path.join(root, 'src', 'web');
const out = path.join(root, 'dist', 'web');
const built = path.join(targetDirectory, 'web');

/** The core as wasm, and src/web/, which speaks to it. Answers the wasm file, and whether it is as small as it is published. */
async function buildCore() {
  const { args, env, small, note } = await wasmBuild();
  console.log(note);
  const flags = ['build', '--profile', 'web', '-p', 'norikv-web', '--target-dir', built];
  await must('cargo', [...flags, '--locked', ...args], { env });
  const library = path.join(built, TARGET, 'web', 'norikv_web.wasm');

  const bindgen = await wasmBindgen((line) => console.log(line));
  rmSync(glue, { recursive: true, force: true });
  const named = ['--out-dir', glue, '--out-name', 'norikv'];
  // Where the wasm is, is said by the entries in src/.
  await must(bindgen, ['--target', 'web', '--omit-default-module-path', ...named, library]);

  const wasm = path.join(glue, 'norikv_bg.wasm');
  const wasmOpt = path.join(path.dirname(require.resolve('binaryen')), 'bin', 'wasm-opt');
  const enabled = FEATURES.map((name) => `--enable-${name}`);
  const strip = ['--strip-debug', '--strip-producers', '--strip-target-features'];
  await must(process.execPath, [wasmOpt, '-Oz', ...enabled, ...strip, wasm, '-o', wasm]);

  const text = JSON.stringify(asText(readFileSync(wasm)));
  writeFileSync(path.join(glue, 'wasm.js'), `export const wasm = ${text};\n`);
  const declared = "import type { Text } from '../inlined.js';\n\nexport const wasm: Text;\n";
  writeFileSync(path.join(glue, 'wasm.d.ts'), declared);
  return { wasm, small };
}

async function bundle(entry, file, options = {}) {
  await build({
    entryPoints: [path.join(root, 'src', entry)],
    outfile: path.join(out, file),
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    minify: true,
    legalComments: 'none',
    logLevel: 'warning',
    ...options,
  });
}

function compressed(file) {
  const bytes = readFileSync(path.join(out, file));
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  return brotliCompressSync(bytes, { params }).length;
}

const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;

const { wasm, small } = await buildCore();
const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
await must(process.execPath, [tsc, '-p', path.join(root, 'tsconfig.web.json')]);

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
await bundle('entry.web.ts', 'norikv.js');
await bundle('entry.inline.ts', 'inline.js');
await bundle('entry.inline.ts', 'inline.cjs', { format: 'cjs' });
const itself = { external: ['@norikv/client'] };
await bundle('server.web.ts', 'server.js', itself);
await bundle('server.web.ts', 'server.cjs', { ...itself, format: 'cjs' });
copyFileSync(wasm, path.join(out, 'norikv_bg.wasm'));
// The package is CommonJS where no file name says otherwise; what is here is not.
writeFileSync(path.join(out, 'package.json'), '{ "type": "module" }\n');

const sizes = {
  'norikv.js and norikv_bg.wasm': compressed('norikv.js') + compressed('norikv_bg.wasm'),
  'inline.js': compressed('inline.js'),
};
const most = `the goal is ${kib(GOAL_BYTES)}, the most it may be ${kib(MOST_BYTES)}`;
for (const [files, size] of Object.entries(sizes)) {
  console.log(`a browser downloads ${kib(size)} (brotli) of ${files}; ${most}`);
}
if (Object.values(sizes).some((size) => size > MOST_BYTES)) {
  if (small) process.exitCode = 1;
  else console.warn('too large to be published, as std was not built along; it runs all the same');
}
