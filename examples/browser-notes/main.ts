// The page: shows the notes of notes.ts, and hands it what the user does.
import { NoriKVClient } from '@norikv/client';
import { type Note, Notes } from './notes.js';

/** Where the server is: `?server=host:port`, or on this machine. */
const server = new URLSearchParams(location.search).get('server') ?? '127.0.0.1:7447';
/** How often the state of the connection is looked at. */
const LOOK_MS = 250;

const client = new NoriKVClient({ nodes: [server], timeout: 2_000 });
const notes = new Notes(client, show);
const cards = new Map<string, HTMLElement>();

function find<T extends Element>(
  kind: new () => T,
  selector: string,
  within: ParentNode = document,
): T {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`the page has no ${selector}`);
  return found;
}

function describe(note: Note): { state: string; says: string } {
  if (note.theirs !== null) {
    const { text } = note.theirs;
    return {
      state: 'conflict',
      says: text === null ? 'Deleted elsewhere' : `Changed elsewhere to “${text}”`,
    };
  }
  if (note.text === note.saved.text) return { state: 'saved', says: 'Saved' };
  if (note.problem === null) return { state: 'saving', says: 'Saving …' };
  return { state: 'waiting', says: `Not saved yet: ${note.problem}` };
}

/** Shows one note as it is now. */
function show(id: string): void {
  const note = notes.all.get(id);
  if (note === undefined) {
    cards.get(id)?.remove();
    cards.delete(id);
    return;
  }
  const card = cards.get(id) ?? makeCard(id);
  const { state, says } = describe(note);
  card.dataset.state = state;
  find(HTMLOutputElement, '.state', card).value = note.text === null ? `Deleted. ${says}` : says;
  const area = find(HTMLTextAreaElement, 'textarea', card);
  area.disabled = note.text === null;
  if (note.text !== null && area.value !== note.text) area.value = note.text;
}

function makeCard(id: string): HTMLElement {
  const template = find(HTMLTemplateElement, '#note').content.cloneNode(true);
  if (!(template instanceof DocumentFragment)) throw new Error('a template has a fragment');
  const card = find(HTMLElement, 'article', template);
  const area = find(HTMLTextAreaElement, 'textarea', card);
  area.addEventListener('input', () => {
    notes.edit(id, area.value);
  });
  const onClick = (selector: string, act: () => void) => {
    find(HTMLButtonElement, selector, card).addEventListener('click', act);
  };
  onClick('.delete', () => {
    notes.edit(id, null);
  });
  onClick('.mine', () => {
    notes.decide(id, 'mine');
  });
  onClick('.theirs', () => {
    notes.decide(id, 'theirs');
  });
  // The newest first.
  const older = [...cards]
    .filter(([other]) => other < id)
    .sort()
    .at(-1);
  find(HTMLElement, '#notes').insertBefore(card, older?.[1] ?? null);
  cards.set(id, card);
  return card;
}

const connection = find(HTMLOutputElement, '#connection');
function showConnection(): void {
  // The client finds out that the network is gone by what it asks; the browser says so at once.
  const state = navigator.onLine && client.isConnected() ? 'connected' : 'not connected';
  if (connection.value !== state) connection.value = connection.dataset.state = state;
}

find(HTMLButtonElement, '#add').addEventListener('click', () => {
  const id = notes.add();
  const card = cards.get(id);
  if (card !== undefined) find(HTMLTextAreaElement, 'textarea', card).focus();
});

window.addEventListener('beforeunload', (event) => {
  // Only this page has what is not saved yet.
  if ([...notes.all.values()].some((note) => note.text !== note.saved.text)) event.preventDefault();
});

showConnection();
setInterval(showConnection, LOOK_MS);
window.addEventListener('online', showConnection);
window.addEventListener('offline', showConnection);
void notes.follow();
