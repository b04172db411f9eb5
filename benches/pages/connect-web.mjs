// connect-web in a page: one fetch for each call.
import { clients } from './clients.mjs';
import { serve } from './serve.mjs';

const utf8 = new TextEncoder();

await serve((address) => {
  const [kv] = clients(address);
  return {
    get: (key) => kv.get({ key: utf8.encode(key) }),
    put: (key, value) => kv.put({ key: utf8.encode(key), value }),
  };
});
