// What a page that is measured gives to lib/browser.mjs, as `bench`. The page is loaded with the server's address.
import { makeKeys, makeValues, randomNumbers } from '../lib/keys.mjs';
import { drive } from '../lib/lanes.mjs';

const OPENED_AT_ONCE = 4;
const now = () => performance.timeOrigin + performance.now();

export async function serve(open) {
  const store = await open(new URLSearchParams(location.search).get('address'));
  await store.get('key-0000000');
  const first = performance.now();

  const values = makeValues();
  let keys = [];
  const calls = {
    get: (n) => store.get(keys[n % keys.length]),
    put: (n) => store.put(keys[n % keys.length], values[n % values.length]),
  };
  /** When each event was there, by its value. */
  const seen = new Map();
  let waiting = () => {};
  let unwatch;

  globalThis.bench = {
    async drive({ op, flight, ms, keys: count }) {
      if (keys.length !== count) keys = makeKeys(count);
      const { done, seconds } = await drive({
        call: calls[op],
        flight,
        ms,
        randomNumbers,
        lookEvery: 1,
      });
      return { perSecond: done / seconds };
    },
    async watch(prefix) {
      unwatch = await store.watch(prefix, (value) => {
        seen.set(value, now());
        waiting();
      });
    },
    /** Waits for the event of a value, ends the watch, and answers when each event came. */
    async events(last) {
      while (!seen.has(last)) await new Promise((resolve) => (waiting = resolve));
      await unwatch();
      const all = [...seen];
      seen.clear();
      return all;
    },
    /** Messages to a WebSocket server and back, one after the other: when each left, what was answered, when it was back. */
    async echoes({ url, ms, gapMs }) {
      const socket = new WebSocket(url);
      const next = () => new Promise((resolve) => (waiting = resolve));
      socket.onopen = socket.onmessage = (event) => waiting(event.data);
      await next();
      const all = [];
      for (const end = now() + ms; now() < end;) {
        const sent = now();
        const back = next();
        socket.send(sent);
        const answer = await back;
        all.push({ sent, answer: Number(answer), back: now() });
        await new Promise((resolve) => setTimeout(resolve, gapMs));
      }
      socket.close();
      return all;
    },
    async churn({ calls: count, watches }) {
      keys = makeKeys(1000);
      for (let made = 0; made < count; made += 500) {
        await Promise.all(Array.from({ length: 250 }, (_, at) => calls.get(made + at)));
        await Promise.all(Array.from({ length: 250 }, (_, at) => calls.put(made + at)));
      }
      for (let opened = 0; opened < watches; opened += OPENED_AT_ONCE) {
        const closes = await Promise.all(
          Array.from({ length: OPENED_AT_ONCE }, (_, at) =>
            store.watch(`churn/${opened + at}/`, () => {}),
          ),
        );
        await Promise.all(closes.map((close) => close()));
      }
    },
  };
  console.log(first);
}
