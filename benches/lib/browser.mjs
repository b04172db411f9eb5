// Pages that are measured: each in a Chromium of its own, bundled by esbuild, from a static server that lets the
// browser keep what it loaded. `bench` in the page is what pages/serve.mjs gives.
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { brotliCompressSync, constants } from 'node:zlib';
import { run } from '../../scripts/lib/exec.mjs';
import { root } from '../../scripts/lib/platform.mjs';
import { load } from './loop.mjs';
import { benches } from './peers.mjs';
import { startNorikvOn } from './servers.mjs';

const out = path.join(benches, 'out', 'pages');
const dist = path.join(root, 'dist', 'web');
/** Between two puts or two echoes: each has its turn alone. */
const GAP_MS = 4;
/** An event that was there before the answer to its put was not late at all. A ratio needs a number. */
const SOONEST_MS = 0.001;

const types = { '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html' };
const now = () => performance.timeOrigin + performance.now();
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

/** A server that any page may call, with keys in its store on disk. */
export async function startForPages(directory, keys) {
  const server = await startNorikvOn(`file:${directory}`, '--cors-origin', '*');
  const { open } = await import('../peers/norikv.mjs');
  const store = await open({ nodes: [server.address] });
  await load(store, keys);
  await store.close();
  return server;
}

/** The peer's code from our .proto files. */
async function generate() {
  const bin = (name) => path.join(benches, 'node_modules', '@bufbuild', ...name.split('/'));
  const template = {
    version: 'v2',
    inputs: [{ directory: path.join(root, 'proto') }],
    plugins: [
      {
        local: [process.execPath, bin('protoc-gen-es/bin/protoc-gen-es')],
        out: path.join(out, 'generated'),
        opt: ['target=js'],
      },
    ],
  };
  const args = [bin('buf/bin/buf'), 'generate', '--template', JSON.stringify(template)];
  const { code, output } = await run(process.execPath, args);
  if (code !== 0) throw new Error(`buf cannot generate the peer's code: ${output}`);
}

/** Bundles a page, or what `stdin` says, as a user would. */
async function bundle(name, input) {
  const { build } = await import('esbuild');
  await build({
    ...input,
    outfile: path.join(out, `${name}.js`),
    bundle: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    legalComments: 'none',
    alias: { generated: path.join(out, 'generated') },
  });
}

/** Builds all pages. */
export async function buildPages() {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  await generate();
  for (const name of ['norikv', 'connect-web']) {
    await bundle(name, { entryPoints: [path.join(benches, 'pages', `${name}.mjs`)] });
  }
  copyFileSync(path.join(dist, 'norikv_bg.wasm'), path.join(out, 'norikv_bg.wasm'));
}

function kibOf(...files) {
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  const bytes = files.map((file) => brotliCompressSync(readFileSync(file), quality).length);
  return bytes.reduce((sum, each) => sum + each, 0) / 1024;
}

/** What a browser downloads of each client, compressed. */
export async function sizes() {
  await buildPages();
  await bundle('clients', { entryPoints: [path.join(benches, 'pages', 'clients.mjs')] });
  const files = ['norikv.js', 'norikv_bg.wasm'].map((name) => path.join(dist, name));
  return { norikv: kibOf(...files), connectWeb: kibOf(path.join(out, 'clients.js')) };
}

/** A server of the pages; also a WebSocket server whose answer to any message is its clock. */
async function startSite() {
  const { WebSocketServer } = await import('ws');
  const site = createServer((request, response) => {
    const name = path.basename(new URL(request.url, 'http://page').pathname);
    const page = `<!doctype html><script type="module" src="${path.parse(name).name}.js"></script>`;
    const kind = path.extname(name);
    const headers = {
      'content-type': types[kind] ?? 'text/plain',
      'cache-control': kind === '.html' ? 'no-cache' : 'public, max-age=31536000, immutable',
      // Isolated pages have clocks that are not rounded to 0.1 ms.
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    };
    try {
      const content = kind === '.html' ? page : readFileSync(path.join(out, name));
      response.writeHead(200, headers).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  new WebSocketServer({ server: site }).on('connection', (socket) => {
    socket.on('message', () => socket.send(now()));
  });
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  return {
    host: `127.0.0.1:${site.address().port}`,
    stop() {
      site.closeAllConnections();
      site.close();
    },
  };
}

/** Pages by name, each opened when it is first wanted. */
export async function startBrowsers() {
  await buildPages();
  const { launchProfile } = await import('../../scripts/lib/chromium.mjs');
  const site = await startSite();
  const stops = [site.stop];

  async function launch() {
    const profile = mkdtempSync(path.join(os.tmpdir(), 'norikv-bench-'));
    const context = await launchProfile(profile);
    stops.push(async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    });
    return context;
  }

  const pages = new Map();
  return {
    /** The page of that name, loaded, which calls the server at `address`. */
    async page(name, address) {
      if (!pages.has(name)) {
        const context = await launch();
        const url = `http://${site.host}/${name}.html?address=${address}`;
        pages.set(name, new Page(context, await context.newPage(), url, site, address));
        await pages.get(name).load();
      }
      return pages.get(name);
    },
    async stop() {
      for (const stop of stops.toReversed()) await stop();
    },
  };
}

/** How many times larger the heap of NoriKV's page is after some work than it was before. */
export async function browserGrowth(address, what) {
  const browsers = await startBrowsers();
  try {
    const page = await browsers.page('norikv', address);
    return await page.growth(what);
  } finally {
    await browsers.stop();
  }
}

class Page {
  #context;
  #page;
  #url;
  #site;
  #address;

  constructor(context, page, url, site, address) {
    this.#context = context;
    this.#page = page;
    this.#url = url;
    this.#site = site;
    this.#address = address;
  }

  /** Loads it anew; answers the milliseconds from the beginning to the first answered get. */
  async load(page = this.#page) {
    await page.goto('about:blank');
    // The page says it by itself: a script put into it to ask would be in the way of what is measured.
    const first = page.waitForEvent('console');
    const failed = new Promise((_, reject) => page.once('pageerror', reject));
    await page.goto(this.#url);
    return Number((await Promise.race([first, failed])).text());
  }

  /** The browser is closed with all others. */
  stop() {}

  async measure({ op, ms, ...what }) {
    if (op === 'load') return this.#loads(ms);
    if (op === 'late') return this.#late(ms);
    if (op === 'echo') return this.#echo(ms);
    return this.#page.evaluate((args) => globalThis.bench.drive(args), { op, ms, ...what });
  }

  async #loads(ms) {
    const times = [];
    for (const end = now() + ms; now() < end;) times.push(await this.load());
    return { p50Us: median(times) * 1000 };
  }

  #echoes(ms) {
    const args = { url: `ws://${this.#site.host}`, ms, gapMs: GAP_MS };
    return this.#page.evaluate((what) => globalThis.bench.echoes(what), args);
  }

  async #echo(ms) {
    const all = await this.#echoes(ms);
    return { p50Us: median(all.map(({ sent, back }) => back - sent)) * 1000 };
  }

  /** From the answer of a put, made by a client in Node, to its event in the page. */
  async #late(ms) {
    // How far Node's clock is before the page's: the fastest of many echoes has it.
    const echoes = await this.#echoes(ms / 2);
    const took = ({ sent, back }) => back - sent;
    const best = echoes.reduce((a, b) => (took(b) < took(a) ? b : a));
    const ahead = best.answer - (best.sent + best.back) / 2;

    const { NoriKVClient } = await import('../../dist/index.mjs');
    const client = await NoriKVClient.open({ nodes: [this.#address] });
    const prefix = `late/${now()}/`;
    await this.#page.evaluate((under) => globalThis.bench.watch(under), prefix);
    const answered = new Map();
    let last;
    for (const end = now() + ms; now() < end; await wait(GAP_MS)) {
      last = `${prefix}${answered.size}`;
      await client.put(last, last);
      answered.set(last, now());
    }
    await client.close();
    const events = await this.#page.evaluate((value) => globalThis.bench.events(value), last);
    const late = events.map(([value, at]) => at + ahead - answered.get(value));
    return { p50Us: Math.max(SOONEST_MS, median(late)) * 1000 };
  }

  /** How much larger the page's heap and the wasm memory are after `what` than after a tenth of it. */
  async growth(what) {
    const page = await this.#context.newPage();
    await page.addInitScript(() => {
      // What the module exports, to see its memory.
      for (const name of ['instantiate', 'instantiateStreaming']) {
        const real = WebAssembly[name];
        WebAssembly[name] = async (...args) => {
          const result = await real(...args);
          globalThis.exported = (result.instance ?? result).exports;
          return result;
        };
      }
    });
    await this.load(page);
    const inspector = await this.#context.newCDPSession(page);
    const churn = (args) => page.evaluate((each) => globalThis.bench.churn(each), args);
    const bytes = async () => {
      await inspector.send('HeapProfiler.collectGarbage');
      const { usedSize } = await inspector.send('Runtime.getHeapUsage');
      return usedSize + (await page.evaluate(() => globalThis.exported.memory.buffer.byteLength));
    };
    await churn({ calls: what.calls / 10, watches: what.watches / 10 });
    const before = await bytes();
    await churn(what);
    const after = await bytes();
    await page.close();
    return after / before;
  }
}
