// Compiles src/ to dist/ as CommonJS, then writes an .mjs beside each public entry that hands on
// the same objects by name. ESM and CommonJS users of one process so share every class and state.
// The names are those the compiled entry exports, so its addon must be there: `npm run build`.
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { must } from './lib/exec.mjs';
import { addonPath, hostPlatform, readJson, root } from './lib/platform.mjs';

const require = createRequire(import.meta.url);

/** The ESM twin of a CommonJS file: one named export for each of its names. */
function twin(commonjs, names) {
  const lines = names.map((name) => `export const ${name} = entry.${name};`);
  return `import entry from './${commonjs}';\n\n${lines.join('\n')}\n`;
}

// What the build for browsers left stays.
const dist = path.join(root, 'dist');
for (const name of existsSync(dist) ? readdirSync(dist) : []) {
  if (name !== 'web') rmSync(path.join(dist, name), { recursive: true });
}
const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
// The recipes are users of the public API: they import the client by its name. Bundlers and browsers have ES modules of their
// own, so that a bundler can leave out those that are not used; Node has a twin, like the client's.
// First, since recipes.d.ts in the root is of what they declare.
for (const config of [
  'src/recipes/tsconfig.json',
  'src/recipes/tsconfig.esm.json',
  'tsconfig.json',
]) {
  await must(process.execPath, [tsc, '-p', path.join(root, config)]);
}
// Their names say that they are ES modules: a package.json that did would be that of another package, in which nobody finds
// the client by its name.
const esm = path.join(dist, 'recipes', 'esm');
for (const name of readdirSync(esm)) {
  const code = readFileSync(path.join(esm, name), 'utf8');
  const imports = code.replace(
    /^((?:import|export) .*from|\} from) '(\.\/.*)\.js';$/gm,
    "$1 '$2.mjs';",
  );
  writeFileSync(path.join(esm, name.replace(/\.js$/, '.mjs')), imports);
  rmSync(path.join(esm, name));
}

if (!existsSync(addonPath(hostPlatform()))) {
  console.warn('The addon is not built; if the next step fails, run `npm run build:addon` first.');
}
const { exports } = readJson('package.json');
for (const conditions of [exports['.'], exports['./server'], exports['./recipes']]) {
  const commonjs = path.join(root, conditions.require.default);
  const names = Object.keys(require(commonjs)).sort();
  writeFileSync(path.join(root, conditions.import.default), twin(path.basename(commonjs), names));
  console.log(`${path.relative(root, commonjs)}: ${names.length} exports`);
}
