'use strict';

// Jest's TypeScript: types are taken off a file at a time, and `using` becomes what Node 20 knows.
// (`npm test -- types` checks the types of the tests.)
const ts = require('typescript');

const compilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.CommonJS,
  esModuleInterop: true,
  inlineSourceMap: true,
  inlineSources: true,
};

module.exports = {
  process(source, fileName) {
    return { code: ts.transpileModule(source, { fileName, compilerOptions }).outputText };
  },
};
