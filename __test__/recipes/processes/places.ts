// Where processes have their data together: what is there survives any of them.
import { onEtcd } from '../../api/stores';
import { freshPrefix, sharedEtcd } from '../../etcd/stores';
import { serve, temporary } from '../../faults/children';

/** A kind of store that outlives its clients. */
export interface Place {
  readonly name: string;
  /** How much later than its time something may run out, in milliseconds: etcd looks for that now and then. */
  readonly lateMs: number;
  /** Begins one, which the suite ends, and answers its address. */
  start(): Promise<string>;
}

const etcd = async (): Promise<string> => (await sharedEtcd()).address(freshPrefix());
const served = async (store: string): Promise<string> => (await serve(store)).address;

const disk: Place = {
  name: 'a server of file:',
  lateMs: 0,
  start: () => served(`file:${temporary()}`),
};
const onCluster: readonly Place[] = [
  { name: 'etcd://', lateMs: 1500, start: etcd },
  { name: 'a server of etcd://', lateMs: 1500, start: async () => served(await etcd()) },
];

/** Through a server of etcd it takes as long again, and shows less that is new. */
const inLong = process.env.NORIKV_LONG === '1' ? onCluster : onCluster.slice(0, 1);

/** Those that the suites run on. */
export const places: readonly Place[] = onEtcd ? inLong : [disk];
