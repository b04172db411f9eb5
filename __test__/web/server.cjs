'use strict';

// What a page of the tests is served by, and what does for it what only Node can: a web server whose origin the page
// has, with the tests bundled from their sources, the built client, and `/control/` to start servers and stop them.
const { mkdtemp, readFile, rm } = require('node:fs/promises');
const { createServer } = require('node:http');
const { tmpdir } = require('node:os');
const path = require('node:path');
const { startServer } = require('@norikv/client/server');
const { build } = require('esbuild');

const root = path.resolve(__dirname, '..', '..');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };

/** Where the pages find the client: the built files as they are, not bundled with the tests. */
const CLIENT = '/dist/web/norikv.js';

/** What a bundler takes for `@norikv/client/recipes`. */
const RECIPES = path.join(root, 'dist', 'recipes', 'esm', 'index.mjs');

/**
 * Bundles test files for a browser. `@jest/globals` becomes the runner, the stores of `api/` those of this folder, and
 * the client, of the tests and of the recipes, stays outside, at `client`. Answers the text of each file by its path.
 */
async function bundle(files, client = CLIENT) {
  const stores = path.join(root, '__test__', 'web', 'stores.ts');
  const stand = {
    name: 'stand-ins',
    setup({ onResolve }) {
      onResolve({ filter: /^@norikv\/client$/ }, () => ({ path: client, external: true }));
      onResolve({ filter: /^@norikv\/client\/recipes$/ }, () => ({ path: RECIPES }));
      onResolve({ filter: /^@jest\/globals$/ }, () => ({
        path: path.join(root, '__test__', 'web', 'runner.ts'),
      }));
      onResolve({ filter: /^(\.|\.\.\/api)\/stores(\.js)?$/ }, () => ({ path: stores }));
    },
  };
  const { outputFiles } = await build({
    entryPoints: files.map((file) => path.join(root, file)),
    absWorkingDir: root,
    outbase: root,
    outdir: root,
    chunkNames: '__test__/web/[name]-[hash]',
    bundle: true,
    splitting: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    sourcemap: 'inline',
    plugins: [stand],
    logLevel: 'warning',
  });
  return new Map(
    outputFiles.map((file) => [`/${path.relative(root, file.path)}`, Buffer.from(file.contents)]),
  );
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

/** The stores that pages asked for, each behind a server of its own. */
class Stores {
  #next = 1;
  #open = new Map();
  #closing = [];

  async open({ holds }, origin) {
    const directory =
      holds === 'file' ? await mkdtemp(path.join(tmpdir(), 'norikv-test-')) : undefined;
    const store = directory === undefined ? 'memory:' : `file:${directory}`;
    const server = await startServer({ store, listen: '127.0.0.1:0', corsOrigins: [origin] });
    const id = this.#next++;
    this.#open.set(id, { server, directory });
    return { id, address: server.address };
  }

  /** A server that stops gives a page that keeps its connection a second; nobody here needs to wait for that. */
  close({ id }) {
    const { server, directory } = this.#open.get(id);
    this.#open.delete(id);
    const stopping = server.stop();
    this.#closing.push(
      directory === undefined
        ? stopping
        : stopping.then(() => rm(directory, { recursive: true, force: true })),
    );
    return {};
  }

  /** Closes what is open; fails if a server did not stop as it should. */
  async closeAll() {
    for (const id of this.#open.keys()) this.close({ id });
    await Promise.all(this.#closing);
  }
}

/** Serves `pages` (texts by path) and the built client. `headers` go with every answer. */
async function serve(pages, headers = {}) {
  const stores = new Stores();
  const answer = async (request) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/control/open')
      return JSON.stringify(await stores.open(await body(request), origin));
    if (pathname === '/control/close') return JSON.stringify(stores.close(await body(request)));
    if (pages.has(pathname)) return pages.get(pathname);
    if (/^\/dist\/web\/[\w.-]+$/.test(pathname)) return await readFile(path.join(root, pathname));
    return undefined;
  };
  const server = createServer((request, response) => {
    answer(request).then(
      (content) => {
        const type =
          TYPES[path.extname(new URL(request.url, origin).pathname)] ?? 'application/json';
        response.writeHead(content === undefined ? 404 : 200, { 'content-type': type, ...headers });
        response.end(content);
      },
      (error) => {
        response.writeHead(500).end(String(error));
      },
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await stores.closeAll();
    },
  };
}

module.exports = { bundle, serve };
