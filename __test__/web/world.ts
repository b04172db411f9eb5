// What the tests of this folder have: a Chromium, pages of an origin of its own in it, and what happens in them. In a page
// `norikv` is the client's module; what a test keeps there between two looks is in `kept`.
import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll } from '@jest/globals';
import type { NoriKVClient } from '@norikv/client';
import type * as client from '@norikv/client';
import { startServer } from '@norikv/client/server';
import type { Server } from '@norikv/client/server';
import { launchChromium } from '../../scripts/lib/chromium.cjs';
import { serve } from './server.cjs';

/** What a page keeps. */
export interface Kept {
  client: NoriKVClient;
  /** What a watch told, as text. */
  seen: string[];
  [name: string]: unknown;
}

declare global {
  var norikv: typeof client;
  var kept: Kept;
  /** Lets the wall clock of a page jump, where a test replaced it. */
  var sleep: (ms: number) => void;
  /** The memory of a page's wasm, where a test looks for it. */
  var wasmMemory: WebAssembly.Memory;
}

const LOAD = `
  import * as norikv from '/dist/web/norikv.js';
  globalThis.norikv = norikv;
  globalThis.kept = { seen: [], forbidden: 'nothing' };
  // Asked here: what the test runs in the page is under no policy.
  try {
    Reflect.construct(Function, ['']);
  } catch (error) {
    kept.forbidden = error.name;
  }
  document.documentElement.dataset.ready = 'yes';
`;
const PAGE = '<!doctype html><title>test</title><script type="module" src="/load.js"></script>';

let browser: Browser;
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  browser = await launchChromium();
});
afterEach(async () => {
  for (let close = closing.pop(); close !== undefined; close = closing.pop()) await close();
});
afterAll(() => browser.close());

/** Closes something after the test, before what was opened earlier. */
export function later(close: () => Promise<unknown>): void {
  closing.push(close);
}

/** Where pages come from. */
export interface Site {
  readonly origin: string;
}

/** Serves the page; `headers` go with every answer. */
export async function site(headers: Readonly<Record<string, string>> = {}): Promise<Site> {
  const served = await serve(
    new Map([
      ['/', PAGE],
      ['/index.html', PAGE],
      ['/load.js', LOAD],
    ]),
    headers,
  );
  later(() => served.close());
  return served;
}

/** Starts a server of a store in memory that pages of a site may call. */
export async function memoryServer({ origin }: Site): Promise<Server> {
  const server = await startServer({
    store: 'memory:',
    listen: '127.0.0.1:0',
    corsOrigins: [origin],
  });
  later(() => server.stop());
  return server;
}

/** Opens the page, in a context of its own; `prepare` comes before it loads. */
export async function open(
  { origin }: Site,
  prepare: (context: BrowserContext) => Promise<unknown> = () => Promise.resolve(),
): Promise<Page> {
  const context = await browser.newContext();
  later(() => context.close());
  await prepare(context);
  const page = await context.newPage();
  await page.goto(`${origin}/index.html`);
  await page.locator('html[data-ready]').waitFor({ state: 'attached' });
  return page;
}

/** The browser's processes of a kind. */
export async function processes(kind: string): Promise<number[]> {
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send('SystemInfo.getProcessInfo');
  await devtools.detach();
  return processInfo.filter(({ type }) => type === kind).map(({ id }) => id);
}

/** What a call in the page fails with. */
export interface Failed {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** What a get of a fresh client fails with. */
export function failureOfGet(
  page: Page,
  config: { readonly nodes: readonly string[]; readonly token?: string },
): Promise<Failed> {
  return page.evaluate(async (given) => {
    const store = new norikv.NoriKVClient({ ...given, retry: { maxAttempts: 2 } });
    try {
      const entry = await store.getOrNull('a');
      throw new Error(`the get answered ${String(entry?.text())}`);
    } catch (error) {
      const { name, code, message, retryable } = error as Failed;
      return { name, code, message, retryable };
    } finally {
      await store.close();
    }
  }, config);
}

/** A proxy in front of a server: `answer` may answer in its place, and says so. */
export async function proxy(
  address: string,
  answer: (request: IncomingMessage, response: ServerResponse) => boolean,
): Promise<string> {
  const [host, port] = address.split(':');
  const server = createServer((request, response) => {
    if (answer(request, response)) return;
    const { method, url: path, headers } = request;
    const upstream = forward({ host, port, method, path, headers }, (answered) => {
      response.writeHead(answered.statusCode ?? 502, answered.headers);
      answered.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  later(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
