// examples/browser-notes as its users have it: tabs of one browser, served by Vite, with a server that may be away.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  jest,
  test,
} from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launchChromium } from '../../scripts/lib/chromium.cjs';
import type { Served } from '../faults/children';
import { root, serve, temporary } from '../faults/children';
import { serveExample, until } from './site';
import type { Site } from './site';

jest.setTimeout(60_000);

/** Which part of the pixels may differ: other machines draw curves otherwise. A note's coloured edge is 0.3 %. */
const TOLERANCE = 0.001;
const REFERENCE = path.join(__dirname, 'browserNotes.png');
const RESULTS = path.join(root, 'target', 'test-logs');

type State = 'saved' | 'saving' | 'waiting' | 'conflict';
/** A note as a page shows it: its text and its state. */
type Shown = readonly [text: string, state: State];

let site: Site;
let browser: Browser;
let context: BrowserContext;
let store: string;
let server: Served;

beforeAll(async () => {
  [browser, site] = await Promise.all([launchChromium(), serveExample('browser-notes')]);
});

afterAll(async () => {
  await browser.close();
  await site.close();
});

const start = (listen?: string) =>
  serve(store, {
    flags: ['--cors-origin', site.origin],
    ...(listen === undefined ? {} : { listen }),
  });

async function stop(): Promise<void> {
  server.kill('SIGKILL');
  await server.ended;
}

beforeEach(async () => {
  store = `file:${temporary()}`;
  server = await start();
  context = await browser.newContext({ viewport: { width: 640, height: 560 } });
});

afterEach(async () => {
  await context.close();
  await stop();
});

/** A tab with the example, once it has read the notes. */
async function open(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${site.origin}/?server=${server.address}`);
  await connection(page, 'connected');
  return page;
}

/** Waits until a page shows these notes, from the top. */
function notes(page: Page, ...wanted: Shown[]): Promise<void> {
  const each = '[note.querySelector("textarea").value, note.dataset.state]';
  return until(page, `[...document.querySelectorAll("article")].map((note) => ${each})`, wanted);
}

function connection(page: Page, wanted: 'connected' | 'not connected'): Promise<void> {
  return until(page, 'document.querySelector("#connection").value', wanted);
}

async function add(page: Page, text: string): Promise<void> {
  await page.click('#add');
  await page.locator('textarea').first().fill(text);
}

const edit = (page: Page, text: string) => page.locator('textarea').first().fill(text);
const click = (page: Page, name: string) =>
  page.getByRole('button', { name, exact: true }).first().click();

/** Cuts a tab off, as a network that is gone does; answers what ends that. */
async function cutOff(page: Page): Promise<() => Promise<void>> {
  const inspector = await context.newCDPSession(page);
  const emulate = async (offline: boolean) => {
    const conditions = { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
    await inspector.send('Network.emulateNetworkConditions', conditions);
  };
  await inspector.send('Network.enable');
  await emulate(true);
  return () => emulate(false);
}

describe('browser-notes', () => {
  test('what one tab writes, changes and deletes is in the other without a reload', async () => {
    const [one, other] = [await open(), await open()];
    await add(one, 'bread');
    await notes(other, ['bread', 'saved']);
    await add(other, 'milk');
    await notes(one, ['milk', 'saved'], ['bread', 'saved']);
    await edit(one, 'milk and honey');
    await notes(other, ['milk and honey', 'saved'], ['bread', 'saved']);
    await click(other, 'Delete');
    await notes(one, ['bread', 'saved']);
    await notes(other, ['bread', 'saved']);

    const late = await open();
    await notes(late, ['bread', 'saved']);
  });

  test('of two edits of one note none is lost: the later one is a conflict, which its user settles', async () => {
    const [one, other] = [await open(), await open()];
    await add(one, 'bread');
    await notes(other, ['bread', 'saved']);

    let mend = await cutOff(other);
    await connection(other, 'not connected');
    await edit(other, 'rye bread');
    await notes(other, ['rye bread', 'waiting']);
    await edit(one, 'white bread');
    await notes(one, ['white bread', 'saved']);
    await mend();
    await connection(other, 'connected');
    await notes(other, ['rye bread', 'conflict']);
    await until(
      other,
      'document.querySelector(".state").value',
      'Changed elsewhere to “white bread”',
    );
    await notes(one, ['white bread', 'saved']);
    await click(other, 'Keep mine');
    await notes(other, ['rye bread', 'saved']);
    await notes(one, ['rye bread', 'saved']);

    mend = await cutOff(other);
    await click(other, 'Delete');
    await notes(other, ['rye bread', 'waiting']);
    await edit(one, 'no bread');
    await notes(one, ['no bread', 'saved']);
    await mend();
    await notes(other, ['rye bread', 'conflict']);
    await click(other, 'Take theirs');
    await notes(other, ['no bread', 'saved']);
    await notes(one, ['no bread', 'saved']);
  });

  test('a server that is killed and comes back: tabs say so, and what was written meanwhile is saved', async () => {
    const [one, other] = [await open(), await open()];
    await add(one, 'before');
    await notes(other, ['before', 'saved']);

    await stop();
    await connection(one, 'not connected');
    await connection(other, 'not connected');
    await add(one, 'meanwhile');
    await notes(one, ['meanwhile', 'waiting'], ['before', 'saved']);
    await notes(other, ['before', 'saved']);

    server = await start(server.address);
    await notes(one, ['meanwhile', 'saved'], ['before', 'saved']);
    await notes(other, ['meanwhile', 'saved'], ['before', 'saved']);
    await connection(one, 'connected');
    await connection(other, 'connected');
  });

  test('a page that is opened while no server runs has the notes once one does', async () => {
    const first = await open();
    await add(first, 'bread');
    await notes(first, ['bread', 'saved']);
    await stop();
    const page = await context.newPage();
    await page.goto(`${site.origin}/?server=${server.address}`);
    await connection(page, 'not connected');
    server = await start(server.address);
    await notes(page, ['bread', 'saved']);
    await connection(page, 'connected');
  });

  test('a tab says at once that the network is gone, with nothing to save, and that it is back', async () => {
    const page = await open();
    await context.setOffline(true);
    await connection(page, 'not connected');
    await context.setOffline(false);
    await connection(page, 'connected');
  });

  test('a note whose first save was refused is not taken for one that was deleted elsewhere', async () => {
    const page = await open();
    const headers = {
      'access-control-allow-origin': site.origin,
      'access-control-expose-headers': 'grpc-status',
      'content-type': 'application/grpc-web+proto',
      'grpc-status': '16',
    };
    await page.route('**/Batch', (route) => route.fulfill({ status: 200, headers }));
    await page.click('#add');
    await notes(page, ['', 'waiting']);
    await page.unroute('**/Batch');

    // What the watch missed is not kept any more: it begins anew, and all notes are read again.
    const { address } = server;
    await stop();
    server = await start();
    let client = await NoriKVClient.open(server.address);
    for (const text of ['flour', 'dough', 'bread']) {
      await client.compact(await client.put('notes/0', text));
    }
    await client.close();
    await stop();
    server = await start(address);
    await notes(page, ['', 'waiting'], ['bread', 'saved']);
    client = await NoriKVClient.open(address);
    await client.put('notes/00', 'milk');
    await client.close();
    await notes(page, ['', 'waiting'], ['milk', 'saved'], ['bread', 'saved']);

    await edit(page, 'butter');
    await notes(page, ['butter', 'saved'], ['milk', 'saved'], ['bread', 'saved']);
  });

  test('it looks as it did', async () => {
    const [page, other] = [await open(), await open()];
    await add(page, 'bread');
    await add(page, 'milk');
    await notes(other, ['milk', 'saved'], ['bread', 'saved']);
    const mend = await cutOff(page);
    await edit(page, 'goat milk');
    await edit(other, 'oat milk');
    await notes(other, ['oat milk', 'saved'], ['bread', 'saved']);
    await mend();
    await notes(page, ['goat milk', 'conflict'], ['bread', 'saved']);
    await connection(page, 'connected');

    // Machines have different fonts: what is compared is everything but the text.
    const content = '* { color: transparent !important; caret-color: transparent !important; }';
    await page.addStyleTag({ content });
    mkdirSync(RESULTS, { recursive: true });
    const result = (name: string) => path.join(RESULTS, `browserNotes.${name}.png`);
    await page.screenshot({ path: result('actual'), animations: 'disabled' });
    if (process.env.NORIKV_UPDATE_SCREENSHOTS === '1') copyFileSync(result('actual'), REFERENCE);
    const script = path.join(root, 'scripts', 'lib', 'compare-images.mjs');
    const args = [script, REFERENCE, result('actual'), result('difference')];
    const differs = Number(execFileSync(process.execPath, args, { encoding: 'utf8' }));
    expect(differs).toBeLessThanOrEqual(TOLERANCE);
  });
});
