// Packs @norikv/client and its platform packages as they are published.
//   node scripts/pack.mjs --out <folder> [--all]
// Without --all it packs the client and the package of this machine's platform, as they are: for tests. What is published
// has the build for browsers.
//
// The platform packages become optionalDependencies of the client only here: in the working tree
// they would have to be on the registry before `npm ci` could run. Nothing in the tree is changed;
// each package is put together in a temporary folder and packed there.
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runNpm } from './lib/exec.mjs';
import {
  addonPath,
  hostPlatform,
  platforms,
  readJson,
  requirePlatform,
  root,
} from './lib/platform.mjs';

const licences = ['LICENSE-APACHE', 'LICENSE-MIT'];

async function pack(manifest, files, out) {
  const stage = mkdtempSync(path.join(os.tmpdir(), 'norikv-pack-'));
  try {
    for (const [from, to] of files) {
      if (!existsSync(from)) throw new Error(`${manifest.name} needs ${from}, which is not there`);
      cpSync(from, path.join(stage, to), { recursive: true });
    }
    writeFileSync(path.join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    const { code, output } = await runNpm(['pack', '--pack-destination', out], { cwd: stage });
    if (code !== 0) throw new Error(`npm pack of ${manifest.name} failed:\n${output}`);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
  const tarball = `${manifest.name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`;
  return path.join(out, tarball);
}

function packClient(out, mustHaveWeb) {
  const { private: _, scripts, devDependencies, ...manifest } = readJson('package.json');
  manifest.optionalDependencies = Object.fromEntries(
    platforms.map((name) => [`${manifest.name}-${name}`, manifest.version]),
  );
  if (mustHaveWeb && !existsSync(path.join(root, 'dist', 'web', 'inline.js'))) {
    throw new Error('the build for browsers is not there: npm run build:web');
  }
  const files = [...manifest.files, 'README.md'].map((name) => [path.join(root, name), name]);
  return pack(manifest, files, out);
}

function packPlatform(name, out) {
  const manifest = readJson('npm', name, 'package.json');
  const { version } = readJson('package.json');
  if (manifest.version !== version) {
    throw new Error(`${manifest.name} is at ${manifest.version}, the client at ${version}`);
  }
  return pack(
    manifest,
    [
      [addonPath(name), manifest.main],
      [path.join(root, 'npm', name, 'README.md'), 'README.md'],
      ...licences.map((file) => [path.join(root, file), file]),
    ],
    out,
  );
}

const { values } = parseArgs({
  options: { out: { type: 'string' }, all: { type: 'boolean', default: false } },
});
if (values.out === undefined) throw new Error('--out <folder> is missing');
const out = path.resolve(values.out);
mkdirSync(out, { recursive: true });
// The platform packages first: they must be published before the client that depends on them.
const chosen = values.all ? platforms : [requirePlatform(hostPlatform())];
for (const name of chosen) console.log(await packPlatform(name, out));
console.log(await packClient(out, values.all));
