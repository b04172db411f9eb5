// What several of them need.

/** How long a lease lives: longer than a test. */
const TTL_MS = 5000;

/** An instance of a service. */
function service(id) {
  return { name: 'api', id, address: '127.0.0.1', port: 80 };
}

/** Something that goes on until its signal ends it. */
function ended(signal) {
  return new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

module.exports = { TTL_MS, ended, service };
