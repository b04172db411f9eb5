// Runs the code of README.md, docs/guide/*.md, docs/recipes/*.md and the comments of the public declarations and of the
// recipes: every ```js and ```ts block is a whole program, run in an empty folder where @norikv/client is
// installed, and etcd3. A ```js block with `require` is CommonJS, the rest are ES modules; ```ts blocks must
// also pass the compiler's checks. What a comment behind a console.log says must be a line of what
// the program prints.
// A block marked ```js served finds an empty server at 127.0.0.1:7447; the test puts the address of
// one of its own there. A block that cannot run by itself says why: ```ts no-run: needs a cluster
//   node scripts/snippets.mjs [file …]
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { countsLine } from './lib/counts.mjs';
import { root } from './lib/platform.mjs';
import {
  compileFolder,
  makeProject,
  removeProject,
  runProgram,
  typeErrors,
} from './lib/program.mjs';

const limitMs = 30_000;
const servedAddress = '127.0.0.1:7447';
/** How many programs run at a time. */
const LANES = 2;

/** The files of a folder of the tree with an ending. */
function filesIn(folder, ending) {
  const whole = path.join(root, folder);
  const names = existsSync(whole) ? readdirSync(whole) : [];
  return names.filter((name) => name.endsWith(ending)).map((name) => path.join(folder, name));
}

function documents() {
  return [
    'README.md',
    ...filesIn(path.join('docs', 'guide'), '.md'),
    ...filesIn(path.join('docs', 'recipes'), '.md'),
    'index.d.ts',
    'server.d.ts',
    ...filesIn(path.join('src', 'recipes'), '.ts'),
  ];
}

/** The lines of a page; of TypeScript, what stands in its comments. */
function linesOf(document) {
  const lines = readFileSync(path.resolve(root, document), 'utf8').split('\n');
  if (!document.endsWith('.ts')) return lines;
  return lines.map((line) => /^\s*\* ?(.*)$/.exec(line)?.[1] ?? '');
}

/** The blocks of a page, with the line each begins at. */
function blocks(document) {
  const found = [];
  let open;
  for (const [index, line] of linesOf(document).entries()) {
    if (open === undefined) {
      const [, fence, language, rest] = /^\s*(```+)(\w*)\s*(.*)$/.exec(line) ?? [];
      if (fence !== undefined) open = { fence, language, rest, line: index + 1, code: [] };
    } else if (line.trim() === open.fence) {
      found.push({ ...open, where: `${document}:${open.line}`, code: `${open.code.join('\n')}\n` });
      open = undefined;
    } else {
      open.code.push(line);
    }
  }
  return found.filter(({ language }) =>
    ['js', 'ts', 'javascript', 'typescript'].includes(language),
  );
}

function fileName({ language, code }) {
  if (language.startsWith('t')) return 'index.mts';
  return /\brequire\(/.test(code) && !/^import /m.test(code) ? 'index.cjs' : 'index.mjs';
}

/** What the comments behind console.log say that a program prints, and it did not. */
function notPrinted(code, output) {
  const printed = new Set(output.split('\n').map((line) => line.trim()));
  return code
    .split('\n')
    .map((line) => /^\s*console\.log\(.*\); \/\/ (.+)$/.exec(line)?.[1].trim())
    .filter((text) => text !== undefined && !printed.has(text))
    .map((text) => `it did not print: ${text}\n`);
}

/** Runs a program, beside a server of its own if it is marked so. */
async function runBlock({ code, file, folder, rest }) {
  const program = file.replace(/\.mts$/, '.mjs');
  const options = { cwd: folder, limitMs };
  if (rest !== 'served') return runProgram(program, options);
  const { startServer } = await import('../dist/server.mjs');
  const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
  try {
    if (!code.includes(servedAddress)) throw new Error(`a served block names ${servedAddress}`);
    const compiled = readFileSync(program, 'utf8');
    writeFileSync(program, compiled.replaceAll(servedAddress, server.address));
    return await runProgram(program, options);
  } finally {
    await server.stop();
  }
}

const named = process.argv.slice(2);
const all = (named.length > 0 ? named : documents()).flatMap(blocks);
const webIsBuilt = existsSync(path.join(root, 'dist', 'web', 'inline.js'));
/** Why a block is not run, if it is not. */
function whyNot({ rest, code }) {
  if (rest.startsWith('no-run')) return rest;
  const needsWeb = code.includes('@norikv/client/web');
  return needsWeb && !webIsBuilt ? 'the build for browsers is not there' : undefined;
}
const runnable = all.filter((block) => whyNot(block) === undefined);
const counts = { passed: 0, failed: 0, skipped: all.length - runnable.length };
for (const block of all.filter((each) => !runnable.includes(each))) {
  console.log(`skip ${block.where} (${whyNot(block)})`);
}

const project = makeProject(['etcd3']);
try {
  const programs = runnable.map((block, index) => {
    const folder = path.join(project, String(index));
    mkdirSync(folder);
    const file = path.join(folder, fileName(block));
    writeFileSync(file, block.code);
    return { ...block, folder, file };
  });
  const typed = programs.filter(({ file }) => file.endsWith('.mts'));
  const errors = typed.length > 0 ? typeErrors(typed.map(({ file }) => file)) : new Map();
  compileFolder(project);

  const waiting = [...programs];
  async function work() {
    for (let program = waiting.shift(); program !== undefined; program = waiting.shift()) {
      const { where, file } = program;
      const wrong = errors.get(file) ?? [];
      const { code, output, timedOut } =
        wrong.length > 0 ? { code: 1, output: wrong.join('\n') } : await runBlock(program);
      const missing = code === 0 ? notPrinted(program.code, output) : [];
      if (code === 0 && missing.length === 0) {
        counts.passed += 1;
        console.log(`ok   ${where}`);
      } else {
        counts.failed += 1;
        const why = timedOut ? 'did not end in time' : `code ${code}`;
        console.log(`FAIL ${where} (${why})\n${missing.join('')}${output}`);
      }
    }
  }
  await Promise.all(Array.from({ length: LANES }, work));
} finally {
  removeProject(project);
}
console.log(countsLine(counts));
process.exitCode = counts.failed > 0 ? 1 : 0;
