// Runs the code of README.md and docs/guide/*.md: every ```js and ```ts block is a whole program,
// run in an empty folder where @norikv/client is installed. A ```js block with `require` is
// CommonJS, the rest are ES modules; ```ts blocks must also pass the compiler's checks.
// A block that cannot run by itself says why: ```ts no-run: needs a cluster
//   node scripts/snippets.mjs [file.md …]
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

function documents() {
  const guide = path.join(root, 'docs', 'guide');
  const pages = existsSync(guide) ? readdirSync(guide).filter((name) => name.endsWith('.md')) : [];
  return ['README.md', ...pages.map((name) => path.join('docs', 'guide', name))].filter((name) =>
    existsSync(path.join(root, name)),
  );
}

/** The blocks of a page, with the line each begins at. */
function blocks(document) {
  const found = [];
  let open;
  for (const [index, line] of readFileSync(path.resolve(root, document), 'utf8')
    .split('\n')
    .entries()) {
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

const named = process.argv.slice(2);
const all = (named.length > 0 ? named : documents()).flatMap(blocks);
const runnable = all.filter(({ rest }) => !rest.startsWith('no-run'));
const counts = { passed: 0, failed: 0, skipped: all.length - runnable.length };
for (const { where, rest } of all.filter((block) => !runnable.includes(block))) {
  console.log(`skip ${where} (${rest})`);
}

const project = makeProject();
try {
  const programs = runnable.map((block, index) => {
    const folder = path.join(project, String(index));
    mkdirSync(folder);
    const file = path.join(folder, fileName(block));
    writeFileSync(file, block.code);
    return { where: block.where, folder, file };
  });
  const typed = programs.filter(({ file }) => file.endsWith('.mts'));
  const errors = typed.length > 0 ? typeErrors(typed.map(({ file }) => file)) : new Map();
  compileFolder(project);

  for (const { where, folder, file } of programs) {
    const wrong = errors.get(file) ?? [];
    const { code, output, timedOut } =
      wrong.length > 0
        ? { code: 1, output: wrong.join('\n') }
        : await runProgram(file.replace(/\.mts$/, '.mjs'), { cwd: folder, limitMs });
    if (code === 0) {
      counts.passed += 1;
      console.log(`ok   ${where}`);
    } else {
      counts.failed += 1;
      console.log(
        `FAIL ${where} (${timedOut ? 'did not end in time' : `code ${code}`})\n${output}`,
      );
    }
  }
} finally {
  removeProject(project);
}
console.log(countsLine(counts));
process.exitCode = counts.failed > 0 ? 1 : 0;
