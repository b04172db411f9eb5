#!/usr/bin/env node
'use strict';

// The command itself is src/cli.ts; it answers the exit code.
const { main } = require('../dist/cli.js');

main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
