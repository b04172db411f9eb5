// Runs the programs of examples/. An example is a folder with index.mjs, index.cjs or index.ts,
// or a single such file; it imports '@norikv/client', ends by itself and exits with 0. A folder with index.html is a page:
// Vite serves it here, and with `all` its own test in __test__/examples runs it instead.
//   npm run example -- <name> [flags]   one, here, with its output on the terminal
//   npm run example -- all [flags]      each in an empty folder with a time limit, then the counts
// The flags go to the example; examples/lib/store.ts says which there are. Without any, `all` runs those that take them
// twice: on a store in memory, and on a server of a store on disk, where they may leave nothing behind.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
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
/** How many examples run at a time: most of them wait more than they work. */
const LANES = 2;
const home = path.join(root, 'examples');
const extensions = ['.mjs', '.cjs', '.ts', '.mts'];
/** What examples import beside the client. */
const packages = ['express', '@types/express', 'jose'];

/** Name and main file, relative to examples/. A folder without a main file is what others import. */
function examples() {
  return readdirSync(home, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) {
      const page = existsSync(path.join(home, entry.name, 'index.html'));
      if (page) return [{ name: entry.name, page }];
      const main = extensions
        .map((extension) => path.join(entry.name, `index${extension}`))
        .find((file) => existsSync(path.join(home, file)));
      return main === undefined ? [] : [{ name: entry.name, main }];
    }
    const { name, ext } = path.parse(entry.name);
    return extensions.includes(ext) ? [{ name, main: entry.name }] : [];
  });
}

/** The files of an example, relative to examples/: those of its folder, or it alone. */
function filesOf({ main }) {
  const folder = path.dirname(main);
  if (folder === '.') return [main];
  const files = readdirSync(path.join(home, folder), { recursive: true });
  return files.map((file) => path.join(folder, file));
}

const isTypeScript = (file) => /\.m?ts$/.test(file);

/** Whether an example takes its store from its flags. */
function takesFlags(example) {
  return filesOf(example).some(
    (file) => isTypeScript(file) && /lib\/store\b/.test(readFileSync(path.join(home, file))),
  );
}

/** Puts the examples into a folder where the client is installed; answers it, and what is wrong with each. */
function prepare(chosen) {
  const folder = makeProject(packages);
  try {
    copyInto(folder, home);
    const files = [...new Set(['lib', ...chosen.map(({ name }) => name)])].flatMap((name) => {
      const example = chosen.find((each) => each.name === name);
      const own =
        example === undefined ? filesOf({ main: path.join(name, '-') }) : filesOf(example);
      return own.filter(isTypeScript).map((file) => ({ name, file: path.join(folder, file) }));
    });
    const found = typeErrors(files.map(({ file }) => file));
    const errors = new Map(chosen.map(({ name }) => [name, []]));
    for (const { name, file } of files) {
      // What is wrong in a file of all is wrong in each of them.
      for (const list of errors.has(name) ? [errors.get(name)] : errors.values())
        list.push(...found.get(file));
    }
    compileFolder(folder);
    return { folder, errors };
  } catch (error) {
    removeProject(folder);
    throw error;
  }
}

async function runExample({ main, name }, { folder, errors }, flags, options) {
  const wrong = errors.get(name);
  if (wrong.length > 0) return { code: 1, output: `${wrong.join('\n')}\n` };
  const file = path.join(folder, main).replace(/\.m?ts$/, '.mjs');
  return await runProgram(file, { cwd: folder, ...options }, flags);
}

/** A server of an empty store on disk, and what examples leave in it. */
async function openServer() {
  const { startServer } = await import('../dist/server.mjs');
  const { NoriKVClient } = await import('../dist/index.mjs');
  const directory = await mkdtemp(path.join(os.tmpdir(), 'norikv-examples-'));
  const server = await startServer({ store: `file:${directory}`, listen: '127.0.0.1:0' });
  const client = await NoriKVClient.open(server.address);
  return {
    flags: ['--nodes', server.address],
    /** What is left behind, and removes it. */
    async left() {
      // What vectors are stored under is gone some time after their index.
      const found = await client.scan({ start: '\0norikv0', keysOnly: true }).toArray();
      const keys = found.map((entry) => entry.keyText());
      const indexes = (await client.vectorIndexes()).map(({ namespace }) => namespace);
      await client.deleteRange({ start: '\0norikv0' });
      for (const index of indexes) await client.vectorDropIndex(index);
      return [
        ...keys.map((key) => `the key ${key}`),
        ...indexes.map((index) => `the index ${index}`),
      ];
    },
    async close() {
      await client.close();
      await server.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function runAll(flags) {
  const chosen = examples().filter(({ page }) => !page);
  const prepared = prepare(chosen);
  const counts = { passed: 0, failed: 0 };
  const waiting = chosen.flatMap((example) => {
    const rounds = [{ example, flags, title: [example.name, ...flags].join(' ') }];
    if (flags.length === 0 && takesFlags(example))
      rounds.push({ example, served: true, title: `${example.name} on a server` });
    return rounds;
  });
  async function work() {
    let server;
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      if (job.served) server ??= await openServer();
      const started = Date.now();
      const args = job.served ? server.flags : job.flags;
      const result = await runExample(job.example, prepared, args, { limitMs });
      const time = `${((Date.now() - started) / 1000).toFixed(1)} s`;
      const left = job.served ? await server.left() : [];
      if (result.code === 0 && left.length === 0) {
        counts.passed += 1;
        console.log(`ok   ${job.title} (${time})`);
      } else {
        counts.failed += 1;
        const why = result.timedOut ? `did not end in ${time}` : `code ${result.code}`;
        console.log(`FAIL ${job.title} (${why})`);
        if (left.length > 0) console.log(`it left behind ${left.slice(0, 10).join(', ')}`);
        console.log(result.output);
      }
    }
    await server?.close();
  }
  try {
    await Promise.all(Array.from({ length: LANES }, work));
  } finally {
    removeProject(prepared.folder);
  }
  console.log(countsLine(counts));
  process.exitCode = counts.failed > 0 ? 1 : 0;
}

async function runOne(example, flags) {
  if (example.page) {
    const vite = path.join(root, 'node_modules', 'vite', 'bin', 'vite.js');
    const args = [vite, path.join(home, example.name), ...flags];
    return (await run(process.execPath, args, { inherit: true })).code;
  }
  const prepared = prepare([example]);
  try {
    const options = { cwd: process.cwd(), inherit: true };
    const { code, output } = await runExample(example, prepared, flags, options);
    process.stdout.write(output);
    return code;
  } finally {
    removeProject(prepared.folder);
  }
}

const [name, ...flags] = process.argv.slice(2);
if (name === 'all' || name === '--all') {
  await runAll(flags);
} else {
  const example = examples().find((each) => each.name === name);
  if (example === undefined) {
    const names = examples().map((each) => each.name);
    console.error(
      `npm run example -- <name> [flags], where the name is all or one of: ${names.join(', ')}`,
    );
    process.exitCode = 2;
  } else {
    process.exitCode = await runOne(example, flags);
  }
}
