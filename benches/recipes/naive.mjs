// How events are often kept on a key-value store, on our own client: what counts them is read, the event is put, and the
// count is put if nobody changed it. A history is read by a get for each event.
import { randomUUID } from 'node:crypto';
import { NoriKVClient } from '../../dist/index.mjs';
import { EVENTS, eventData } from './work.mjs';

const FLIGHT = 64;
const eventKey = (id, version) => `naive:${id}:${version}`;
const countKey = (id) => `naive:count:${id}`;

export async function open({ config }) {
  const client = await NoriKVClient.open({ timeout: 60_000, ...config });
  const make = (id, version) =>
    JSON.stringify({
      id: randomUUID(),
      aggregateId: id,
      type: 'Deposited',
      data: eventData(version),
      timestamp: Date.now(),
      version,
    });
  const read = async (version) => (await client.get(eventKey('history', version))).json();

  let filled;
  const fill = async () => {
    const versions = Array.from({ length: EVENTS }, (_, at) => at + 1);
    await Promise.all(
      versions.map((version) => client.put(eventKey('history', version), make('history', version))),
    );
    await client.put(countKey('history'), JSON.stringify({ version: EVENTS }));
  };
  const counted = async () => {
    await (filled ??= fill());
    return (await client.get(countKey('history'))).json().version;
  };
  return {
    async append() {
      const count = await client.getOrNull(countKey('appended'));
      const version = (count?.json().version ?? 0) + 1;
      await client.put(eventKey('appended', version), make('appended', version));
      const guard = count === null ? {} : { ifMatchVersion: count.version };
      await client.put(countKey('appended'), JSON.stringify({ version }), guard);
    },
    /** The gets 64 in flight. */
    async read() {
      const count = await counted();
      const events = new Array(count);
      let next = 0;
      const lane = async () => {
        while (next < count) {
          const at = next++;
          events[at] = await read(at + 1);
        }
      };
      await Promise.all(Array.from({ length: FLIGHT }, lane));
    },
    /** The gets all at once. */
    async readAtOnce() {
      const count = await counted();
      await Promise.all(Array.from({ length: count }, (_, at) => read(at + 1)));
    },
    close: () => client.close(),
  };
}
