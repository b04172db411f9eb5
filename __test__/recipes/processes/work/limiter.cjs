// Asks a limiter for the same id as all others do, and more often than it lets through.
const recipes = require('@norikv/client/recipes');
const { begin, tell, tellError, wait } = require('./lib.cjs');
const naive = require('./naive.cjs');

const LANES = 3;

void begin(async ({ client, settings, going }) => {
  const { RateLimiter } = settings.naive ? naive : recipes;
  const limiter = new RateLimiter(client);
  const { maxRequests, windowMs } = settings;
  const work = async (lane) => {
    while (going()) {
      tell('asks', { lane });
      try {
        const { allowed } = await limiter.checkLimit('shared', { maxRequests, windowMs });
        tell('told', { lane, allowed });
      } catch (error) {
        tellError(error, { lane });
      }
      await wait(Math.random() * 30);
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, lane) => work(lane)));
});
