import { randomUUID } from 'node:crypto';
import { Router } from 'express';
import { InsufficientStockError } from '@norikv/client/recipes';
import { HttpError, fieldsOf, numberOf, shopOf, textOf } from './http.js';
import type { Answer, Handler } from './http.js';
import type { Step } from './orders.js';
import { productOf } from './products.js';
import { loggedInOnly } from './sessions.js';
import type { Settings } from './settings.js';

/** What came of an order, over HTTP. */
const STATUS: Readonly<Record<Step, number>> = {
  completed: 201,
  declined: 402,
  refunded: 409,
  abandoned: 409,
  // Its request is answered only once it has ended.
  none: 500,
  placed: 500,
  paid: 500,
};

function userOf({ locals }: Answer): string {
  if (locals.session === undefined) throw new HttpError(401, 'log in first');
  return locals.session.userId;
}

/** The id of an order: its customer's, and the key that they gave it. */
function orderId(response: Answer, key: string): string {
  // Without a separator in the key no two customers make one id.
  if (!/^[\w-]{1,64}$/.test(key)) throw new HttpError(400, 'a key is 1 to 64 of A-Z a-z 0-9 _ -');
  return `${userOf(response)}:${key}`;
}

export function orderRoutes({ timeoutMs }: Settings): Router {
  const options = { timeoutMs };
  const router = Router();

  const buy: Handler = async (request, response) => {
    const shop = shopOf(response);
    const fields = fieldsOf(request.body);
    const sku = textOf(fields.sku, 'sku');
    const quantity = numberOf(fields.quantity, 'quantity', 1);
    // Who asks again with the same key buys once.
    const key = fields.key === undefined ? randomUUID() : textOf(fields.key, 'key');
    const id = orderId(response, key);
    const { cents } = await productOf(shop, sku, options);
    const purchase = { user: userOf(response), sku, quantity, cents: cents * quantity };
    try {
      const { step } = await shop.purchases.buy(id, purchase, options);
      response.status(STATUS[step]).json({ order: key, step });
    } catch (error) {
      if (error instanceof InsufficientStockError) throw new HttpError(409, 'sold out');
      throw error;
    }
  };

  const show: Handler = async (request, response) => {
    const { purchases } = shopOf(response);
    const { key = '' } = request.params;
    const id = orderId(response, key);
    const history = await purchases.history(id, options);
    if (history.length === 0) throw new HttpError(404, 'there is no such order');
    const { step } = await purchases.read(id, options);
    response.json({ order: key, step, history });
  };

  /** Wishes are the tenant's own data: kept within the limits of their plan. */
  const wish: Handler = async (request, response) => {
    const { own } = shopOf(response);
    const { sku = '' } = request.params;
    await own.put(JSON.stringify([userOf(response), sku]), '', options);
    response.status(201).json({});
  };

  router.post('/orders', loggedInOnly, buy);
  router.get('/orders/:key', loggedInOnly, show);
  router.put('/wishes/:sku', loggedInOnly, wish);
  return router;
}
