import express from 'express';
import type { Express } from 'express';
import type { NoriKVClient } from '@norikv/client';
import { orderRoutes } from './buying.js';
import { HttpError, answerErrors } from './http.js';
import { Jobs } from './jobs.js';
import { limitRequests } from './limits.js';
import { productRoutes } from './products.js';
import { findSession, sessionRoutes } from './sessions.js';
import type { Settings } from './settings.js';
import { Tenants } from './tenants.js';

/** The shop, as an Express app, and what runs beside it. */
export interface ShopApp extends AsyncDisposable {
  readonly app: Express;
  readonly tenants: Tenants;
}

/** Makes the app. It keeps nothing in the process that another process of it would have to know. */
export async function createApp(client: NoriKVClient, settings: Settings): Promise<ShopApp> {
  const tenants = new Tenants(client, settings);
  const jobs = new Jobs(client, tenants, settings);
  const app = express();
  app.disable('x-powered-by');
  app.use(express.json({ limit: '16kb' }));
  app.use(tenants.admit);
  app.use(findSession(settings));
  app.use(limitRequests(client, settings));
  app.use(sessionRoutes(settings));
  app.use(productRoutes(settings));
  app.use(orderRoutes(settings));
  app.get('/report', ...jobs.report);
  app.use(() => {
    throw new HttpError(404, 'there is nothing here');
  });
  app.use(answerErrors);
  await jobs.start();
  return {
    app,
    tenants,
    async [Symbol.asyncDispose]() {
      await jobs[Symbol.asyncDispose]();
      await tenants[Symbol.asyncDispose]();
    },
  };
}
