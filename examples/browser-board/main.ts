// The page: shows the board of board.ts, and hands it what the user does.
import { NoriKVClient } from '@norikv/client';
import { Board, COLUMNS, type Card, type Editing, Presence } from './board.js';

const parameters = new URLSearchParams(location.search);
/** Where the server is: `?server=host:port`, or on this machine. */
const server = parameters.get('server') ?? '127.0.0.1:7447';
const name = parameters.get('name') ?? `Guest ${String(Math.floor(Math.random() * 1_000))}`;
/** How long we seem to be here once we are gone. */
const ttlMs = Number(parameters.get('ttl') ?? 10_000);
/** How often the state of the connection is looked at. */
const LOOK_MS = 250;

const client = new NoriKVClient({ nodes: [server], timeout: 2_000 });
const board = new Board(client, ttlMs, show);
const presence = new Presence(client, name, ttlMs);
const shown = new Map<string, HTMLElement>();
/** The card that is open here, and the right to change it; without the right once that is lost. */
let open: { readonly id: string; editing: Editing | null } | null = null;

function find<T extends Element>(
  kind: new () => T,
  selector: string,
  within: ParentNode = document,
): T {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`the page has no ${selector}`);
  return found;
}

function listen(selector: string, within: ParentNode, act: () => Promise<void>): void {
  find(HTMLButtonElement, selector, within).addEventListener('click', () => {
    const problem = find(HTMLOutputElement, '#problem');
    act().then(
      () => (problem.value = ''),
      (error: unknown) => {
        problem.value = error instanceof Error ? error.message : String(error);
      },
    );
  });
}

/** Shows the board as it is now. */
function show(): void {
  const people = [...board.people.values()].map((person) => person.name).sort();
  find(HTMLOutputElement, '#people').value = people.join(', ');
  for (const [id, element] of shown) {
    // What is typed is not taken from under somebody's hands.
    if (board.cards.has(id) || open?.id === id) continue;
    element.remove();
    shown.delete(id);
  }
  for (const card of [...board.cards.values()].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const element = shown.get(card.id) ?? makeCard(card.id);
    const column = find(HTMLElement, `#${card.column}`);
    if (element.parentElement !== column) column.append(element);
    if (open?.id !== card.id) showText(element, card);
    showState(element, card);
  }
}

function showText(element: HTMLElement, card: Card): void {
  const area = find(HTMLTextAreaElement, 'textarea', element);
  if (area.value !== card.text) area.value = card.text;
}

function showState(element: HTMLElement, card: Card): void {
  const other = [...board.people.values()].find(
    ({ id, editing }) => id !== presence.id && editing === card.id,
  );
  const mine = open?.id === card.id;
  const state = mine ? (open?.editing ? 'mine' : 'lost') : other ? 'theirs' : 'free';
  const says = {
    mine: 'You are editing',
    lost: 'You may not save this any more: open it again',
    theirs: `${other?.name ?? ''} is editing`,
    free: '',
  };
  element.dataset.state = state;
  find(HTMLOutputElement, '.state', element).value = says[state];
  find(HTMLTextAreaElement, 'textarea', element).disabled = !mine;
  find(HTMLButtonElement, '.edit', element).disabled = state === 'theirs';
  const at = COLUMNS.indexOf(card.column);
  find(HTMLButtonElement, '.left', element).disabled = at === 0;
  find(HTMLButtonElement, '.right', element).disabled = at === COLUMNS.length - 1;
}

function makeCard(id: string): HTMLElement {
  const template = find(HTMLTemplateElement, '#card').content.cloneNode(true);
  if (!(template instanceof DocumentFragment)) throw new Error('a template has a fragment');
  const element = find(HTMLElement, 'article', template);
  const area = find(HTMLTextAreaElement, 'textarea', element);
  const editing = (): Editing => {
    if (open?.id !== id || open.editing === null) throw new Error('the card is not open here');
    return open.editing;
  };
  listen('.edit', element, () => edit(id));
  listen('.save', element, async () => {
    await editing().save(area.value);
    done(id);
  });
  listen('.delete', element, async () => {
    await editing().remove();
    done(id);
  });
  listen('.cancel', element, async () => {
    const held = open?.editing;
    done(id);
    await held?.cancel();
  });
  listen('.left', element, () => move(id, -1));
  listen('.right', element, () => move(id, 1));
  shown.set(id, element);
  return element;
}

/** Opens a card; what is typed in it already stays, if it was open here and lost. */
async function edit(id: string): Promise<void> {
  if (open !== null && open.id !== id) throw new Error('save or cancel the other card first');
  if (open?.editing) return;
  const editing = await board.edit(id);
  if (editing === null) throw new Error('somebody else has this card open');
  const card = { id, editing: editing as Editing | null };
  open = card;
  presence.editing = id;
  editing.signal.addEventListener('abort', () => {
    card.editing = null;
    presence.editing = null;
    find(HTMLOutputElement, '#problem').value = String(editing.signal.reason);
    show();
  });
  show();
  const element = shown.get(id);
  if (element) find(HTMLTextAreaElement, 'textarea', element).focus();
}

/** The card is not open any more. */
function done(id: string): void {
  if (open?.id !== id) return;
  open = null;
  presence.editing = null;
  show();
}

async function move(id: string, by: number): Promise<void> {
  const card = board.cards.get(id);
  const column = card && COLUMNS[COLUMNS.indexOf(card.column) + by];
  if (column !== undefined) await board.move(id, column);
}

const connection = find(HTMLOutputElement, '#connection');
function showConnection(): void {
  // The client finds out that the network is gone by what it asks; the browser says so at once.
  const state = navigator.onLine && client.isConnected() ? 'connected' : 'not connected';
  if (connection.value !== state) connection.value = connection.dataset.state = state;
}

listen('#add', document, async () => {
  await board.add(COLUMNS[0]);
});
window.addEventListener('pagehide', () => {
  // The others see us go at once if this is heard, and when our lease runs out otherwise.
  void client.close();
});

showConnection();
setInterval(showConnection, LOOK_MS);
window.addEventListener('online', showConnection);
window.addEventListener('offline', showConnection);
void board.follow();
void presence.run();
