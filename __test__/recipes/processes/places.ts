// Where processes have their data together: what is there survives any of them.
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll } from '@jest/globals';
import { onEtcd } from '../../api/stores';
import { Cluster } from '../../etcd/cluster';
import { freshPrefix, sharedEtcd } from '../../etcd/stores';
import { serve, temporary } from '../../faults/children';

/** A kind of store that outlives its clients. */
export interface Place {
  readonly name: string;
  /** How much later than its time something may run out, in milliseconds: etcd looks for that now and then. */
  readonly lateMs: number;
  /**
   * The errors that may be, by their names, though nobody stood still: a lease of a second ends where no leader of the cluster,
   * or a machine that is too busy, lets a keep-alive through in time; and so does the time of a call.
   */
  readonly expected: readonly string[];
  /** Begins one, which the suite ends, and answers its address. */
  start(): Promise<string>;
}

/** How long all members are there, and then one is not, in milliseconds. */
const WHOLE_MS = 3000;
const LACKING_MS = 1000;

const etcd = async (): Promise<string> => (await sharedEtcd()).address(freshPrefix());
const served = async (store: string): Promise<string> => (await serve(store)).address;

const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  await Promise.all(ends.map((end) => end()));
});

/** Three members, of which one after the other is killed and started again. */
async function unsteady(): Promise<string> {
  const cluster = await Cluster.start({ members: 3 });
  const over = new AbortController();
  const killing = async (): Promise<void> => {
    for (let round = 0; ; round++) {
      const member = cluster.members[round % 3];
      await wait(WHOLE_MS, undefined, over);
      await member?.kill();
      await wait(LACKING_MS, undefined, over);
      await member?.start();
    }
  };
  const killed = killing().catch((error: unknown) => {
    if (!over.signal.aborted) throw error;
  });
  ends.push(async () => {
    over.abort();
    await killed.finally(() => cluster.stop());
  });
  return cluster.address();
}

const disk: Place = {
  name: 'a server of file:',
  lateMs: 0,
  expected: [],
  start: () => served(`file:${temporary()}`),
};
const oneMember = { lateMs: 1500, expected: ['LeaseLostError'] };
const onCluster: readonly Place[] = [
  { ...oneMember, name: 'etcd://', start: etcd },
  { ...oneMember, name: 'a server of etcd://', start: async () => served(await etcd()) },
  {
    name: 'three members of etcd, killed in turn,',
    // A new leader gives every lease its whole time again.
    lateMs: 5000,
    expected: ['LeaseLostError', 'RetryExhaustedError', 'UnavailableError'],
    start: unsteady,
  },
];

/** The others take as long again each, and show less that is new. */
const inLong = process.env.NORIKV_LONG === '1' ? onCluster : onCluster.slice(0, 1);

/** Those that the suites run on. */
export const places: readonly Place[] = onEtcd ? inLong : [disk];
