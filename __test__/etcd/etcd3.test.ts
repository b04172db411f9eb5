// The npm package etcd3, which knows nothing of us, on our server: what it does to an etcd, it does to our stores.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startServer } from '@norikv/client/server';
import type { Server } from '@norikv/client/server';
import {
  Etcd3,
  EtcdLeaseInvalidError,
  EtcdLockFailedError,
  GRPCNotImplementedError,
  STMConflictError,
} from 'etcd3';
import type { Campaign, IKeyValue, ISTMOptions, Watcher } from 'etcd3';
import { World } from '../api/world';
import { Cluster } from './cluster';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(async () => {
  await world.close();
});

interface Served {
  readonly etcd: Etcd3;
  /** A client with a connection of its own. */
  readonly client: () => Etcd3;
  /** Stops the server, and starts it again on the same data at the same address. */
  readonly restart: () => Promise<void>;
}

/** The levels of isolation, in the order of etcd3's own enum: that is declared, but not there at run time. */
type Isolation = ISTMOptions['isolation'];
/* eslint-disable @typescript-eslint/no-unsafe-enum-assignment */
const snapshot: Isolation = 0;
const serializable: Isolation = 1;
const repeatable: Isolation = 2;
const committed: Isolation = 3;
/* eslint-enable @typescript-eslint/no-unsafe-enum-assignment */

type Kind = 'memory' | 'file' | 'etcd';

function clientOf(address: string): Etcd3 {
  const client = new Etcd3({ hosts: `http://${address}` });
  world.later(() => {
    client.close();
    return Promise.resolve();
  });
  return client;
}

async function serve(kind: Kind): Promise<Served> {
  if (kind === 'etcd') {
    const cluster = await Cluster.start();
    world.later(() => cluster.stop());
    const client = (): Etcd3 => clientOf(cluster.endpoints[0] ?? '');
    return { etcd: client(), client, restart: () => Promise.resolve() };
  }
  const store = kind === 'memory' ? 'memory:' : `file:${await world.directory()}/data`;
  let server: Server = await startServer({ store, listen: '127.0.0.1:0', etcdApi: true });
  const { address } = server;
  world.later(() => server.stop());
  const client = (): Etcd3 => clientOf(address);
  const restart = async (): Promise<void> => {
    await server.stop();
    server = await startServer({ store, listen: address, etcdApi: true });
  };
  return { etcd: client(), client, restart };
}

/** What a watcher tells of keys, as it comes; and a wait for so much of it. */
class Heard {
  readonly events: string[] = [];
  #heard: () => void = () => undefined;

  constructor(watcher: Watcher) {
    const hear = (text: string): void => {
      this.events.push(text);
      this.#heard();
    };
    watcher.on('put', (kv, previous) => {
      const before = previous?.value.toString();
      hear(
        `put ${kv.key.toString()} ${kv.value.toString()}${before === undefined ? '' : ` after ${before}`}`,
      );
    });
    watcher.on('delete', (kv: IKeyValue) => {
      hear(`delete ${kv.key.toString()}`);
    });
  }

  async until(count: number): Promise<readonly string[]> {
    while (this.events.length < count) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
    return this.events;
  }
}

function elected(campaign: Campaign): Promise<void> {
  return new Promise((resolve, reject) => {
    campaign.on('elected', resolve);
    campaign.on('error', reject);
  });
}

// On etcd itself, too: so it is known that it is etcd3 that asks for what is expected here.
describe.each<Kind>(['memory', 'file', 'etcd'])('on %s', (kind) => {
  test('puts, gets, deletes and what goes with them', async () => {
    const { etcd } = await serve(kind);
    await etcd.put('a').value('1');
    expect(await etcd.get('a').string()).toBe('1');
    expect(await etcd.get('a').number()).toBe(1);
    expect(await etcd.get('missing')).toBeNull();
    expect(await etcd.get('a').exists()).toBe(true);
    const put = await etcd.put('a').value('2').getPrevious();
    expect(put.value.toString()).toBe('1');
    await etcd.put('a').value('2').touch();
    await etcd.put('b').value('3');
    await etcd.put('c/1').value('4');
    expect(await etcd.getAll().strings()).toEqual({ a: '2', b: '3', 'c/1': '4' });
    expect(await etcd.getAll().prefix('c/').keys()).toEqual(['c/1']);
    expect(await etcd.getAll().count()).toBe(3);
    expect(await etcd.getAll().sort('Mod', 'Descend').limit(2).keys()).toEqual(['c/1', 'b']);
    expect(await etcd.getAll().sort('Value', 'Descend').keys()).toEqual(['c/1', 'b', 'a']);
    const { header, kvs } = await etcd.get('a').exec();
    expect([header.revision, kvs[0]?.version, kvs[0]?.create_revision]).toEqual(['6', '3', '2']);
    expect(await etcd.get('a').revision(2).string()).toBe('1');
    expect(await etcd.delete().key('a').getPrevious()).toHaveLength(1);
    expect((await etcd.delete().all()).deleted).toBe('2');
  });

  test('a namespace is a part of the keys', async () => {
    const { etcd } = await serve(kind);
    const part = etcd.namespace('part/');
    await part.put('a').value('1');
    expect(await etcd.get('part/a').string()).toBe('1');
    expect(await part.getAll().strings()).toEqual({ a: '1' });
    await etcd.put('a').value('outside');
    await part.delete().all();
    expect(await etcd.getAll().strings()).toEqual({ a: 'outside' });
  });

  test('conditions choose what is done', async () => {
    const { etcd } = await serve(kind);
    const create = async (value: string): Promise<boolean> => {
      const done = await etcd
        .if('a', 'Create', '==', 0)
        .then(etcd.put('a').value(value))
        .else(etcd.get('a'), etcd.put('seen').value('yes'))
        .commit();
      return done.succeeded;
    };
    expect(await create('first')).toBe(true);
    expect(await create('second')).toBe(false);
    expect(await etcd.get('a').string()).toBe('first');
    expect(await etcd.get('seen').string()).toBe('yes');
    for (const [column, operator, value, holds] of [
      ['Value', '==', 'first', true],
      ['Value', '>', 'first', false],
      ['Version', '<', 2, true],
      ['Mod', '!=', 2, false],
      ['Lease', '==', 0, true],
    ] as const) {
      const done = await etcd.if('a', column, operator, value).then(etcd.get('a')).commit();
      expect([column, operator, value, done.succeeded]).toEqual([column, operator, value, holds]);
    }
  });

  test('a lease keeps its keys for as long as it is kept alive', async () => {
    const { etcd } = await serve(kind);
    const lease = etcd.lease(10);
    await lease.put('kept').value('1');
    const kept = await lease.keepaliveOnce();
    expect(kept.TTL).toBe('10');
    await lease.revoke();
    expect(await etcd.get('kept')).toBeNull();
    const lost = etcd.lease(1, { autoKeepAlive: false });
    await lost.put('lost').value('1');
    const watcher = await etcd.watch().key('lost').create();
    const heard = new Heard(watcher);
    expect(await heard.until(1)).toEqual(['delete lost']);
    await watcher.cancel();
    await expect(
      etcd
        .put('lost')
        .value('2')
        .lease(await lost.grant()),
    ).rejects.toThrow(EtcdLeaseInvalidError);
  });

  test('a lock that is held is not had by another', async () => {
    const { etcd, client } = await serve(kind);
    const other = client();
    const lock = etcd.lock('mutex').ttl(10);
    await lock.acquire();
    await expect(other.lock('mutex').acquire()).rejects.toThrow(EtcdLockFailedError);
    await lock.release();
    let inside = 0;
    let done = 0;
    const contend = async (etcd3: Etcd3): Promise<void> => {
      while (done < 20) {
        try {
          await etcd3.lock('mutex').do(async () => {
            inside += 1;
            expect(inside).toBe(1);
            await etcd3.put('work').value(String(done));
            inside -= 1;
            done += 1;
          });
        } catch (error) {
          if (!(error instanceof EtcdLockFailedError)) throw error;
        }
      }
    };
    await Promise.all([contend(etcd), contend(other)]);
    expect(await etcd.getAll().prefix('mutex').count()).toBe(0);
  });

  test('an election has one leader, and the next one follows', async () => {
    const { etcd, client } = await serve(kind);
    const election = etcd.election('chief', 10);
    const other = client().election('chief', 10);
    const observer = await etcd.election('chief').observe();
    const seen: (string | undefined)[] = [];
    let change: () => void = () => undefined;
    observer.on('change', (leader) => {
      seen.push(leader);
      change();
    });
    const until = async (leader: string): Promise<void> => {
      while (!seen.includes(leader)) {
        await new Promise<void>((resolve) => {
          change = resolve;
        });
      }
    };
    const one = election.campaign('one');
    await elected(one);
    await until('one');
    const two = other.campaign('two');
    const next = elected(two);
    expect(await etcd.election('chief').leader()).toBe('one');
    await one.proclaim('still one');
    await until('still one');
    await one.resign();
    await next;
    await until('two');
    expect(seen.indexOf('two')).toBeGreaterThan(seen.indexOf('still one'));
    await two.resign();
    await observer.cancel();
  });

  test('many watches share one stream, each with what it asked for', async () => {
    const { etcd } = await serve(kind);
    const all = await etcd.watch().prefix('w/').withPreviousKV().create();
    const deletes = await etcd.watch().key('w/a').only('delete').create();
    const others = await Promise.all(
      Array.from({ length: 50 }, (_, at) =>
        etcd
          .watch()
          .key(`w/${String(at)}`)
          .create(),
      ),
    );
    const [heard, heardDeletes] = [new Heard(all), new Heard(deletes)];
    const heardOthers = others.map((watcher) => new Heard(watcher));
    await etcd.put('w/a').value('1');
    await etcd.put('w/a').value('2');
    await etcd.delete().key('w/a');
    expect(await heard.until(3)).toEqual(['put w/a 1', 'put w/a 2 after 1', 'delete w/a']);
    expect(await heardDeletes.until(1)).toEqual(['delete w/a']);
    await Promise.all(others.map((_, at) => etcd.put(`w/${String(at)}`).value('x')));
    for (const [at, heardOther] of heardOthers.entries()) {
      expect(await heardOther.until(1)).toEqual([`put w/${String(at)} x`]);
    }
    await all.cancel();
    await etcd.put('w/a').value('3');
    const later = await etcd.watch().prefix('w/a').startRevision('2').create();
    expect(await new Heard(later).until(4)).toEqual([
      'put w/a 1',
      'put w/a 2',
      'delete w/a',
      'put w/a 3',
    ]);
    expect(heard.events).toHaveLength(53);
  });

  test.each([
    ['serializable', serializable],
    ['repeatable reads', repeatable],
  ] as const)('transfers are all or nothing: %s', async (_, isolation) => {
    const { etcd, client } = await serve(kind);
    await etcd.put('bank/a').value('100');
    await etcd.put('bank/b').value('100');
    const transfer = (etcd3: Etcd3, from: string, to: string): Promise<unknown> =>
      etcd3.stm({ isolation, retries: 1_000 }).transact(async (tx) => {
        const [left, right] = await Promise.all([tx.get(from).number(), tx.get(to).number()]);
        await tx.put(from).value(Number(left) - 1);
        await tx.put(to).value(Number(right) + 1);
      });
    const clients = [etcd, client(), client()];
    await Promise.all(
      clients.map(async (etcd3, at) => {
        for (let turn = 0; turn < 10; turn += 1) {
          await transfer(etcd3, at === 0 ? 'bank/a' : 'bank/b', at === 0 ? 'bank/b' : 'bank/a');
        }
      }),
    );
    expect(await etcd.getAll().prefix('bank/').numbers()).toEqual({ 'bank/a': 110, 'bank/b': 90 });
  });

  test('counters that several add to at once lose nothing', async () => {
    const { etcd, client } = await serve(kind);
    await etcd.put('counter').value(0);
    const add = (etcd3: Etcd3): Promise<unknown> =>
      etcd3.stm({ isolation: snapshot, retries: 1_000 }).transact(async (tx) => {
        await tx.put('counter').value(Number(await tx.get('counter').number()) + 1);
      });
    await Promise.all(
      [etcd, client(), client()].map(async (etcd3) => {
        for (let turn = 0; turn < 10; turn += 1) await add(etcd3);
      }),
    );
    expect(await etcd.get('counter').number()).toBe(30);
  });

  test('a transaction that read what has changed meanwhile is made again, unless it only reads what is committed', async () => {
    const { etcd } = await serve(kind);
    const changed = async (isolation: ISTMOptions['isolation']): Promise<number> => {
      let attempts = 0;
      await etcd.stm({ isolation, retries: 5 }).transact(async (tx) => {
        attempts += 1;
        const seen = await tx.get('seen').number();
        if (attempts === 1) await etcd.put('seen').value(Number(seen) + 1);
        await tx.put('result').value(String(seen));
      });
      return attempts;
    };
    await etcd.put('seen').value(0);
    expect(await changed(committed)).toBe(1);
    expect(await changed(repeatable)).toBe(2);
    expect(await changed(serializable)).toBe(2);
    const never = etcd.stm({ isolation: repeatable, retries: 0 }).transact(async (tx) => {
      await tx.get('seen').number();
      await etcd.put('seen').value(7);
      await tx.put('result').value('never');
    });
    await expect(never).rejects.toThrow(STMConflictError);
    expect(await etcd.get('result').string()).toBe('3');
  });
});

test('a watcher goes on where it was when the server is back', async () => {
  const { etcd, client, restart } = await serve('file');
  const watcher = await etcd.watch().prefix('r/').create();
  const heard = new Heard(watcher);
  await etcd.put('r/a').value('1');
  await heard.until(1);
  const disconnected = new Promise((resolve) => watcher.once('disconnected', resolve));
  await restart();
  await disconnected;
  // Written before the watcher is there again: it is told of that, too.
  await client().put('r/b').value('2');
  expect(await heard.until(2)).toEqual(['put r/a 1', 'put r/b 2']);
  await watcher.cancel();
});

test('what the server has not says so', async () => {
  const { etcd } = await serve('memory');
  await expect(etcd.getRoles()).rejects.toThrow(GRPCNotImplementedError);
});
