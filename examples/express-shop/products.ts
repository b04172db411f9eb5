import { Router } from 'express';
import { AlreadyExistsError } from '@norikv/client';
import type { CallOptions } from '@norikv/client';
import { HttpError, fieldsOf, numberOf, shopOf, textOf } from './http.js';
import type { Handler } from './http.js';
import type { Settings } from './settings.js';
import type { Shop } from './shop.js';
import { adminOnly } from './tenants.js';

const PRODUCTS = 'products/';
/** How many products a search answers. */
const FOUND = 10;

interface Product {
  readonly sku: string;
  readonly name: string;
  readonly description: string;
  readonly cents: number;
}

/** A product by its number. */
export async function productOf(
  { client }: Shop,
  sku: string,
  options: CallOptions,
): Promise<Product> {
  const entry = await client.getOrNull(PRODUCTS + sku, options);
  if (entry === null) throw new HttpError(404, 'there is no such product');
  return entry.json<Product>();
}

export function productRoutes({ timeoutMs }: Settings): Router {
  const options = { timeoutMs };
  const router = Router();

  const add: Handler = async (request, response) => {
    const { client, inventory, search } = shopOf(response);
    const fields = fieldsOf(request.body);
    const sku = textOf(fields.sku, 'sku');
    const product: Product = {
      sku,
      name: textOf(fields.name, 'name'),
      description: textOf(fields.description, 'description'),
      cents: numberOf(fields.cents, 'cents', 0),
    };
    const quantity = numberOf(fields.quantity, 'quantity', 0);
    // The product itself comes last: what was begun and not ended is no product yet, and may be begun again.
    if ((await client.getOrNull(PRODUCTS + sku, options)) !== null)
      throw new HttpError(409, 'there is such a product already');
    await inventory.createItem(sku, quantity, options).catch((error: unknown) => {
      if (!(error instanceof AlreadyExistsError)) throw error;
    });
    await search.indexDocument(sku, product.name, product.description, options);
    await client.put(PRODUCTS + sku, JSON.stringify(product), options);
    response.status(201).json(product);
  };

  const find: Handler = async (request, response) => {
    const shop = shopOf(response);
    const query = textOf(request.query.q, 'q');
    const found = await shop.search.search(query, FOUND, options);
    response.json(found.map(({ id, title, score }) => ({ sku: id, name: title, score })));
  };

  const show: Handler = async (request, response) => {
    const shop = shopOf(response);
    const { sku = '' } = request.params;
    const product = await productOf(shop, sku, options);
    response.json({ ...product, available: await shop.inventory.getAvailable(sku, options) });
  };

  router.post('/products', adminOnly, add);
  router.get('/products', find);
  router.get('/products/:sku', show);
  return router;
}
