// Adds to counters that all share, and to one of its own.
const recipes = require('@norikv/client/recipes');
const { begin, tell, tellError } = require('./lib.cjs');
const naive = require('./naive.cjs');

const LANES = 4;

void begin(async ({ client, name, settings, going }) => {
  const { DistributedCounter, ShardedCounter } = settings.naive ? naive : recipes;
  const counters = {
    shared: new DistributedCounter(client, 'shared'),
    sharded: new ShardedCounter(client, 'sharded', 4),
    [name]: new DistributedCounter(client, name),
  };
  const names = Object.keys(counters);
  const work = async (lane) => {
    while (going()) {
      const counter = names[Math.floor(Math.random() * names.length)];
      const amount = 1 + Math.floor(Math.random() * 5);
      tell('adds', { lane, name: counter, amount });
      try {
        await counters[counter].incrementBy(amount);
        tell('added', { lane, name: counter });
      } catch (error) {
        tellError(error, { lane, name: counter });
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, lane) => work(lane)));
});
