// Stands for election; leads for as long as it is let, or resigns after a while.
const { LeaderElection } = require('@norikv/client/recipes');
const { begin, now, stare, tell, tellError, wait } = require('./lib.cjs');

/** The longest that one leads before it resigns, in milliseconds; and how long it stays away. */
const TERM_MS = 4000;
const AWAY_MS = 300;
const LOOK_MS = 10;

void begin(async ({ client, name, settings, going }) => {
  const election = new LeaderElection(client, 'shared', name, settings.ttlMs);
  election.onError((error) => tellError(error));

  /** Says that it leads, as of after the first look and of before each later one: see `intervalsOf`. */
  const elected = () => {
    const token = String(election.token);
    if (election.isLeader()) tell('holds', { token });
  };
  const defeated = () => {
    if (election.isLeader()) tell('failed', { error: 'it leads while it is told that it lost' });
    tell('lost');
  };
  const look = () => {
    const at = now();
    const leads = election.isLeader();
    if (leads) tell('still', {}, at);
    return leads;
  };

  while (going()) {
    await election.start(elected, defeated);
    let resigns = Infinity;
    while (going() && now() < resigns) {
      if (stare(look) && resigns === Infinity) resigns = now() + Math.random() * TERM_MS;
      await wait(LOOK_MS);
    }
    await election.stop();
    await wait(Math.random() * AWAY_MS);
  }
});
