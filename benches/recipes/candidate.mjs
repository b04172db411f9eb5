// One that stands for election: `node candidate.mjs <address> <name> <ttl in ms>` prints a line when it stands, and the time
// of the machine's clock, in milliseconds, when it leads.
import { NoriKVClient } from '../../dist/index.mjs';
import { LeaderElection } from '../../dist/recipes/index.js';

const [address, name, ttlMs] = process.argv.slice(2);
const client = await NoriKVClient.open({ nodes: [address] });
const election = new LeaderElection(client, 'bench', name, Number(ttlMs));
const say = (what) => process.stdout.write(`${what}\n`);
say('stands');
await election.campaign();
say(Number(process.hrtime.bigint()) / 1e6);
setInterval(() => {}, 1000);
