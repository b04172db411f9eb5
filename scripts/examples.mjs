// Runs the programs of examples/. An example is a folder with index.mjs, index.cjs or index.ts,
// or a single such file; it imports '@norikv/client', ends by itself and exits with 0. A folder with index.html is a page:
// Vite serves it here, and with --all its own test in __test__/examples runs it instead.
//   npm run example <name>     one, here, with its output on the terminal
//   npm run example -- --all   each in an empty folder with a time limit, then the counts
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { countsLine } from './lib/counts.mjs';
import { run } from './lib/exec.mjs';
import { root } from './lib/platform.mjs';
import {
  compileFolder,
  copyInto,
  makeProject,
  removeProject,
  runProgram,
  typeErrors,
} from './lib/program.mjs';

const limitMs = 60_000;
const home = path.join(root, 'examples');
const extensions = ['.mjs', '.cjs', '.ts', '.mts'];

/** Name and main file, relative to examples/. */
function examples() {
  if (!existsSync(home)) return [];
  return readdirSync(home, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) {
      const page = existsSync(path.join(home, entry.name, 'index.html'));
      if (page) return [{ name: entry.name, page }];
      const main = extensions
        .map((extension) => path.join(entry.name, `index${extension}`))
        .find((file) => existsSync(path.join(home, file)));
      return [{ name: entry.name, main }];
    }
    const { name, ext } = path.parse(entry.name);
    return extensions.includes(ext) ? [{ name, main: entry.name }] : [];
  });
}

async function runExample({ main }, { cwd, ...options }) {
  if (main === undefined)
    return { code: 1, output: `no index${extensions.join(', index')} in it\n` };
  const folder = makeProject();
  try {
    copyInto(folder, home);
    const file = path.join(folder, main);
    if (/ts$/.test(file)) {
      const errors = typeErrors([file]).get(file);
      if (errors.length > 0) return { code: 1, output: `${errors.join('\n')}\n` };
      compileFolder(path.dirname(file));
    }
    return await runProgram(file.replace(/\.m?ts$/, '.mjs'), { cwd: cwd ?? folder, ...options });
  } finally {
    removeProject(folder);
  }
}

async function runAll() {
  const counts = { passed: 0, failed: 0 };
  for (const example of examples().filter(({ page }) => !page)) {
    const started = Date.now();
    const { code, output, timedOut } = await runExample(example, { limitMs });
    const time = `${((Date.now() - started) / 1000).toFixed(1)} s`;
    if (code === 0) {
      counts.passed += 1;
      console.log(`ok   ${example.name} (${time})`);
    } else {
      counts.failed += 1;
      console.log(`FAIL ${example.name} (${timedOut ? `did not end in ${time}` : `code ${code}`})`);
      console.log(output);
    }
  }
  console.log(countsLine(counts));
  process.exitCode = counts.failed > 0 ? 1 : 0;
}

const [name] = process.argv.slice(2);
if (name === '--all') {
  await runAll();
} else {
  const example = examples().find((each) => each.name === name);
  if (example === undefined) {
    const names = examples().map((each) => each.name);
    console.error(`npm run example <name>, where the name is one of: ${names.join(', ')}`);
    process.exitCode = 2;
  } else if (example.page) {
    const vite = path.join(root, 'node_modules', 'vite', 'bin', 'vite.js');
    const { code } = await run(process.execPath, [vite, path.join(home, name)], { inherit: true });
    process.exitCode = code;
  } else {
    const { code, output } = await runExample(example, { cwd: process.cwd(), inherit: true });
    process.stdout.write(output);
    process.exitCode = code;
  }
}
