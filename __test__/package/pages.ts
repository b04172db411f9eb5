// Pages of a folder, under a strict Content-Security-Policy, opened in a Chromium.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import readline from 'node:readline';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, test } from '@jest/globals';
import { chromiumPath, launchChromium } from '../../scripts/lib/chromium.cjs';
import { serve } from '../faults/children';
import type { Served } from '../faults/children';
import { root } from './project';

/** What any page of the package can do with: its own scripts, and wasm. */
export const POLICY = "script-src 'self' 'wasm-unsafe-eval'";

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
};

/** A test that needs a Chromium; where there is none it is skipped. */
export const testInPage = chromiumPath() === undefined ? test.skip : test;

let folder = '';
const files = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://page');
  const file = path.join(folder, pathname === '/' ? 'index.html' : pathname);
  readFile(file).then(
    (bytes) => {
      const type = TYPES[path.extname(file)] ?? 'application/octet-stream';
      response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY });
      response.end(bytes);
    },
    () => response.writeHead(404).end(),
  );
});

/** Vite's development server with its default settings, but for the policy. */
const VITE = `
  import { pathToFileURL } from 'node:url';
  const { createServer } = await import(pathToFileURL(process.argv[1]));
  const headers = { 'content-security-policy': process.argv[2] };
  const vite = await createServer({ logLevel: 'error', server: { host: '127.0.0.1', headers } });
  await vite.listen();
  console.log(vite.resolvedUrls.local[0]);
`;

let browser: Browser | undefined;
let origin = '';
let store: Served | undefined;

beforeAll(async () => {
  await new Promise<void>((resolve) => files.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(files.address() as AddressInfo).port}`;
  store = await serve('memory:', { flags: ['--cors-origin', origin] });
  if (chromiumPath() !== undefined) browser = await launchChromium();
});

afterAll(async () => {
  await browser?.close();
  await new Promise((resolve) => files.close(resolve));
});

/** The address of a server that lets this suite's pages in. */
export function storeAddress(): string {
  return store!.address;
}

/** Opens a page, and answers what it writes into its `<output>`; fails with what it complains of. */
async function outputOf(page: string, address: string): Promise<string> {
  const opened = await browser!.newPage();
  const complaints: string[] = [];
  opened.on('pageerror', (error) => complaints.push(error.stack ?? error.message));
  opened.on('requestfailed', (request) => complaints.push(`${request.url()} failed`));
  opened.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  try {
    await opened.goto(`${page}?server=${address}`);
    return (await opened.locator('output').textContent({ timeout: 20_000 })) ?? '';
  } catch (error) {
    throw new Error(`the page wrote nothing\n${complaints.join('\n')}`, { cause: error });
  } finally {
    await opened.close();
  }
}

/** Serves a folder's files as they are, and answers what its page writes. */
export function outputOfFolder(served: string): Promise<string> {
  folder = served;
  return outputOf(`${origin}/`, storeAddress());
}

/** Serves a project by Vite's development server, and answers what its page writes. */
export async function outputOfVite(project: string): Promise<string> {
  const vite = path.join(root, 'node_modules', 'vite', 'dist', 'node', 'index.js');
  const script = ['--input-type=module', '-e', VITE, vite, POLICY];
  const child = spawn(process.execPath, script, {
    cwd: project,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  try {
    const [page] = (await once(readline.createInterface(child.stdout), 'line')) as [string];
    const server = await serve('memory:', { flags: ['--cors-origin', new URL(page).origin] });
    const output = await outputOf(page, server.address);
    server.kill('SIGTERM');
    await server.ended;
    return output;
  } finally {
    child.kill();
    await closed;
  }
}
