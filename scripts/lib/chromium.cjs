'use strict';

// The browser that the tests and benchmarks run in: a Chromium of this machine, driven by playwright-core, which brings
// none of its own.
const { existsSync } = require('node:fs');
const path = require('node:path');

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

const FLAGS = [
  '--headless',
  // In a container there is no namespace to build the sandbox of, and the pages are our own.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  // A test's browser speaks to the test alone.
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Where a Chromium is: what CHROMIUM_PATH says, or the first on the PATH. Undefined if there is none. */
function chromiumPath() {
  const named = process.env.CHROMIUM_PATH;
  if (named !== undefined && named !== '') return existsSync(named) ? named : undefined;
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))).find(existsSync);
}

/** Loaded only now: `npm test` looks for a Chromium before npm's dependencies are there. */
const driver = () => require('playwright-core').chromium;

function settings(args) {
  const executablePath = chromiumPath();
  if (executablePath === undefined) {
    throw new Error('no Chromium: install one (Debian: chromium), or set CHROMIUM_PATH to it');
  }
  return { executablePath, args: [...FLAGS, ...args] };
}

/** Starts it; `args` are further flags. Answers playwright's browser, which the caller closes. */
async function launchChromium({ args = [] } = {}) {
  return driver().launch(settings(args));
}

/** Starts one that keeps in a folder what it loaded, as a user's does. Answers playwright's context. */
async function launchProfile(folder, { args = [] } = {}) {
  return driver().launchPersistentContext(folder, settings(args));
}

module.exports = { chromiumPath, launchChromium, launchProfile };
