// examples/browser-board as its users have it: two people with the board open, served by Vite, with a server that may be away.
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
import { serve, temporary } from '../faults/children';
import { serveExample, until } from './site';
import type { Site } from './site';

jest.setTimeout(60_000);

/** How long a lock outlives its page in tests that wait for that. */
const SHORT_MS = 1_000;

/** A card as a page shows it: its column, its text and its state. */
type Shown = readonly [column: string, text: string, state: 'free' | 'mine' | 'theirs' | 'lost'];

let site: Site;
let browser: Browser;
let contexts: BrowserContext[] = [];
let store: string;
let server: Served;

beforeAll(async () => {
  [browser, site] = await Promise.all([launchChromium(), serveExample('browser-board')]);
});

afterAll(async () => {
  await browser.close();
  await site.close();
});

const start = (listen = '127.0.0.1:0') =>
  serve(store, { listen, flags: ['--cors-origin', site.origin] });

async function stop(): Promise<void> {
  server.kill('SIGKILL');
  await server.ended;
}

beforeEach(async () => {
  store = `file:${temporary()}`;
  server = await start();
});

afterEach(async () => {
  for (const context of contexts) await context.close();
  contexts = [];
  await stop();
});

/** Somebody's page with the board, in a browser of their own, once it has read the board. */
async function open(name: string, ttlMs = 10_000): Promise<Page> {
  const context = await browser.newContext();
  contexts.push(context);
  const page = await context.newPage();
  const query = new URLSearchParams({ server: server.address, name, ttl: String(ttlMs) });
  await page.goto(`${site.origin}/?${query.toString()}`);
  await connection(page, 'connected');
  return page;
}

const valueOf = (selector: string) => `document.querySelector("${selector}").value`;

function connection(page: Page, wanted: 'connected' | 'not connected'): Promise<void> {
  return until(page, valueOf('#connection'), wanted);
}

function people(page: Page, ...wanted: string[]): Promise<void> {
  return until(page, valueOf('#people'), wanted.join(', '));
}

function problem(page: Page, wanted: string): Promise<void> {
  return until(page, valueOf('#problem'), wanted);
}

/** Waits until a page shows these cards, column by column. */
function cards(page: Page, ...wanted: Shown[]): Promise<void> {
  const each = '[card.parentElement.id, card.querySelector("textarea").value, card.dataset.state]';
  return until(page, `[...document.querySelectorAll("article")].map((card) => ${each})`, wanted);
}

const click = (page: Page, name: string) =>
  page.getByRole('button', { name, exact: true }).first().click();
const type = (page: Page, text: string) => page.locator('textarea').first().fill(text);

/** Adds a card with a text. */
async function add(page: Page, text: string): Promise<void> {
  await click(page, 'New card');
  await cards(page, ['todo', '', 'free']);
  await edit(page, text);
  await click(page, 'Save');
  await cards(page, ['todo', text, 'free']);
}

/** Opens the first card and types into it. */
async function edit(page: Page, text: string): Promise<void> {
  await click(page, 'Edit');
  await page.locator('article[data-state=mine]').waitFor();
  await type(page, text);
}

/** What is left in the store below a prefix. */
async function keys(prefix: string): Promise<string[]> {
  const client = await NoriKVClient.open(server.address);
  const found = await client.scan({ prefix, keysOnly: true }).toArray();
  await client.close();
  return found.map((entry) => entry.keyText());
}

describe('browser-board', () => {
  test('what one adds, moves, edits and deletes the other sees; a card is edited by one at a time', async () => {
    const [ada, grace] = [await open('Ada'), await open('Grace')];
    await people(ada, 'Ada', 'Grace');
    await people(grace, 'Ada', 'Grace');

    await add(ada, 'bread');
    await cards(grace, ['todo', 'bread', 'free']);
    await click(grace, 'Move right');
    await cards(ada, ['doing', 'bread', 'free']);

    await edit(ada, 'rye bread');
    await cards(grace, ['doing', 'bread', 'theirs']);
    await until(grace, valueOf('.state'), 'Ada is editing');
    // A move keeps the text, and what is being typed.
    await click(grace, 'Move right');
    await cards(ada, ['done', 'rye bread', 'mine']);
    await click(ada, 'Save');
    await cards(grace, ['done', 'rye bread', 'free']);
    await cards(ada, ['done', 'rye bread', 'free']);

    await edit(grace, 'no bread');
    await click(grace, 'Cancel');
    await cards(grace, ['done', 'rye bread', 'free']);
    await edit(grace, 'no bread');
    await click(grace, 'Delete');
    await cards(grace);
    await cards(ada);
    expect(await keys('lock/')).toEqual([]);
  });

  test('who opens a card before the other is told of it is refused by the lock, not by what the page shows', async () => {
    const [ada, grace] = [await open('Ada'), await open('Grace')];
    await add(ada, 'bread');
    await cards(grace, ['todo', 'bread', 'free']);
    await edit(ada, 'rye bread');
    await cards(grace, ['todo', 'bread', 'theirs']);
    // As if her page had not heard yet.
    await grace.evaluate('document.querySelector(".edit").disabled = false');
    await click(grace, 'Edit');
    await problem(grace, 'somebody else has this card open');
    await click(ada, 'Save');
    await cards(grace, ['todo', 'rye bread', 'free']);
    await edit(grace, 'white bread');
    await click(grace, 'Save');
    await cards(ada, ['todo', 'white bread', 'free']);
  });

  test('a page that goes without a word is gone once its lease has run out, and so is its lock', async () => {
    const [ada, grace] = [await open('Ada', SHORT_MS), await open('Grace')];
    await add(ada, 'bread');
    await edit(ada, 'rye bread');
    await cards(grace, ['todo', 'bread', 'theirs']);
    // No page is told of this: nothing of it runs any more.
    const devtools = await ada.context().newCDPSession(ada);
    void devtools.send('Page.crash').catch(() => undefined);
    await people(grace, 'Grace');
    await cards(grace, ['todo', 'bread', 'free']);
    await edit(grace, 'white bread');
    await click(grace, 'Save');
    await cards(grace, ['todo', 'white bread', 'free']);
  });

  test('a server that is killed and comes back has the board, and who edits goes on', async () => {
    const [ada, grace] = [await open('Ada'), await open('Grace')];
    await add(ada, 'bread');
    await cards(grace, ['todo', 'bread', 'free']);
    await edit(ada, 'rye bread');
    await cards(grace, ['todo', 'bread', 'theirs']);

    await stop();
    await connection(ada, 'not connected');
    await connection(grace, 'not connected');
    await cards(grace, ['todo', 'bread', 'theirs']);

    server = await start(server.address);
    await connection(ada, 'connected');
    await connection(grace, 'connected');
    // The lock is in the store, and lives on.
    await cards(ada, ['todo', 'rye bread', 'mine']);
    await click(ada, 'Save');
    await cards(grace, ['todo', 'rye bread', 'free']);
    await people(grace, 'Ada', 'Grace');
    await click(grace, 'Move right');
    await cards(ada, ['doing', 'rye bread', 'free']);
  });

  test('who lost the lock while the server was away is told, cannot save, and loses no text', async () => {
    const [ada, grace] = [await open('Ada', SHORT_MS), await open('Grace')];
    await add(ada, 'bread');
    await edit(ada, 'rye bread');
    await cards(grace, ['todo', 'bread', 'theirs']);
    await stop();
    await cards(ada, ['todo', 'rye bread', 'lost']);
    await until(ada, valueOf('.state'), 'You may not save this any more: open it again');

    server = await start(server.address);
    await cards(grace, ['todo', 'bread', 'free']);
    await connection(ada, 'connected');
    // A store that was away gives leases their time again: hers may take that long to be gone.
    while ((await keys('lock/')).length > 0)
      await new Promise((resolve) => setTimeout(resolve, 50));
    await edit(grace, 'white bread');
    await click(grace, 'Save');
    await cards(grace, ['todo', 'white bread', 'free']);
    await cards(ada, ['todo', 'rye bread', 'lost']);
    await click(ada, 'Edit');
    await cards(ada, ['todo', 'rye bread', 'mine']);
    await click(ada, 'Save');
    await cards(grace, ['todo', 'rye bread', 'free']);
  });

  test('a page that is opened after a restart has what was there before', async () => {
    const ada = await open('Ada');
    await add(ada, 'bread');
    await stop();
    server = await start(server.address);
    const grace = await open('Grace');
    await cards(grace, ['todo', 'bread', 'free']);
    await people(grace, 'Ada', 'Grace');
  });
});
