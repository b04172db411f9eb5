// Compiles the declarations, everything in __test__/ and the examples for browsers with the compiler's strictest settings.
// Each file of __test__ is a test; a `// @ts-expect-error` in it is one more, and the compiler
// reports the line that should be refused and is not.
import path from 'node:path';
import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { countsLine } from './lib/counts.mjs';
import { root } from './lib/platform.mjs';

/** A folder's files, and what the compiler says of them: those that look into pages have one of their own. */
function compile(...folder) {
  const config = path.join(root, ...folder, 'tsconfig.json');
  const { config: json } = ts.readConfigFile(config, ts.sys.readFile);
  const { fileNames, options, errors } = ts.parseJsonConfigFileContent(
    json,
    ts.sys,
    path.dirname(config),
  );
  const program = ts.createProgram(fileNames, options);
  return { fileNames, diagnostics: [...errors, ...ts.getPreEmitDiagnostics(program)] };
}

const compiled = [
  compile('__test__'),
  compile('__test__', 'web'),
  compile('__test__', 'package'),
  compile('__test__', 'examples'),
  compile('examples', 'browser-board'),
  compile('examples', 'browser-notes'),
];
const fileNames = compiled.flatMap((each) => each.fileNames);
const diagnostics = compiled.flatMap((each) => each.diagnostics);
const host = ts.createCompilerHost({});
if (diagnostics.length > 0) console.log(ts.formatDiagnostics(diagnostics, host));

const refusals = fileNames.reduce(
  (sum, file) => sum + readFileSync(file, 'utf8').split('// @ts-expect-error').length - 1,
  0,
);
const total = fileNames.length + refusals;
const failed = Math.min(diagnostics.length, total);
console.log(`${fileNames.length} files, ${refusals} lines that must be refused`);
console.log(countsLine({ passed: total - failed, failed }));
process.exitCode = diagnostics.length > 0 ? 1 : 0;
