// Puts a small program into an empty folder where @norikv/client is installed (as a link to the
// built working tree), makes TypeScript into JavaScript, and runs it as a user would.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import ts from 'typescript';
import { run } from './exec.mjs';
import { root } from './platform.mjs';

/** An empty folder with the client installed, and further `packages` of the working tree. */
export function makeProject(packages = []) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'norikv-program-'));
  const install = (name, from) => {
    const to = path.join(folder, 'node_modules', name);
    mkdirSync(path.dirname(to), { recursive: true });
    symlinkSync(from, to, 'junction');
  };
  install('@norikv/client', root);
  for (const name of packages) install(name, path.join(root, 'node_modules', name));
  return folder;
}

export function removeProject(folder) {
  rmSync(folder, { recursive: true, force: true });
}

const compilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  moduleDetection: ts.ModuleDetectionKind.Force,
  types: ['node'],
  typeRoots: [path.join(root, 'node_modules', '@types')],
  strict: true,
  noEmit: true,
};

/** Type errors of the files, by file. */
export function typeErrors(files) {
  const host = ts.createCompilerHost(compilerOptions);
  const program = ts.createProgram(files, compilerOptions, host);
  const errors = new Map(files.map((file) => [file, []]));
  for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
    const list = errors.get(diagnostic.file?.fileName) ?? errors.get(files[0]);
    list.push(ts.formatDiagnostic(diagnostic, host).trim());
  }
  return errors;
}

/** Compiles every .ts and .mts of a folder to an .mjs beside it. */
export function compileFolder(folder) {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (!entry.isFile() || file.includes('node_modules') || !/\.m?ts$/.test(file)) continue;
    const { outputText } = ts.transpileModule(readFileSync(file, 'utf8'), {
      compilerOptions: { ...compilerOptions, noEmit: false },
    });
    // A relative import names the source (`./a.ts`, or `./a.js` as in src/); here it is an .mjs.
    const linked = outputText.replace(/(from\s+['"]\.[^'"]*)\.m?[jt]s(['"])/g, '$1.mjs$2');
    writeFileSync(file.replace(/\.m?ts$/, '.mjs'), linked);
  }
}

export function copyInto(folder, from) {
  cpSync(from, folder, { recursive: true, filter: (source) => !source.includes('node_modules') });
}

export function runProgram(file, options, args = []) {
  return run(process.execPath, [file, ...args], options);
}
