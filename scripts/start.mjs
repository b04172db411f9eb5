// Everything a fresh machine needs, then a walk through the API: `npm start`.
import path from 'node:path';
import { depsAreFresh } from './lib/deps.mjs';
import { must, npmCommand, run } from './lib/exec.mjs';
import { root } from './lib/platform.mjs';

if ((await run('cargo', ['--version'])).code !== 0) {
  console.error('NoriKV is built with Rust, and cargo is not here: see https://rustup.rs');
  process.exit(1);
}
const script = (name) => path.join(root, 'scripts', name);
const [npm, ...npmArgs] = npmCommand();
const stages = [
  ...(depsAreFresh() ? [] : [['npm dependencies', npm, [...npmArgs, 'ci']]]),
  ['the addon (the first build takes minutes)', process.execPath, [script('build-addon.mjs')]],
  ['the TypeScript layer', process.execPath, [script('build-ts.mjs')]],
  ['examples/quickstart', process.execPath, [script('examples.mjs'), 'quickstart']],
];
try {
  for (const [index, [title, command, args]] of stages.entries()) {
    console.log(`\n[${index + 1}/${stages.length}] ${title}`);
    await must(command, args);
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
