// Which shop a request is for: a token says so, and only one that we signed.
import { jwtVerify } from 'jose';
import type { NoriKVClient } from '@norikv/client';
import { TenantManager } from '@norikv/client/recipes';
import { HttpError } from './http.js';
import type { Handler } from './http.js';
import { Shop } from './shop.js';
import type { Settings } from './settings.js';

/** The tenants, and the shop of each. */
export class Tenants implements AsyncDisposable {
  readonly manager: TenantManager;
  readonly #client: NoriKVClient;
  readonly #settings: Settings;
  readonly #shops = new Map<string, Promise<Shop>>();

  constructor(client: NoriKVClient, settings: Settings) {
    this.#client = client;
    this.#settings = settings;
    this.manager = new TenantManager(client);
  }

  /** The shop of a tenant, made when it is first asked for. */
  shop(tenantId: string): Promise<Shop> {
    const known = this.#shops.get(tenantId);
    if (known !== undefined) return known;
    const shop = this.#open(tenantId);
    this.#shops.set(tenantId, shop);
    // What could not be opened is opened again by the next who asks.
    shop.catch(() => this.#shops.delete(tenantId));
    return shop;
  }

  async #open(tenantId: string): Promise<Shop> {
    const own = await this.manager.getClient(tenantId, { timeoutMs: this.#settings.timeoutMs });
    return await Shop.open(this.#client, tenantId, own, this.#settings);
  }

  /** Finds out whose request it is; without a token that we signed it goes no further. */
  admit: Handler = async (request, response, next) => {
    const [, token = ''] = /^Bearer (\S+)$/.exec(request.get('authorization') ?? '') ?? [];
    const claims = await jwtVerify(token, this.#settings.secret, { algorithms: ['HS256'] }).then(
      ({ payload }) => payload,
      () => null,
    );
    if (typeof claims?.tenant !== 'string') {
      throw new HttpError(401, 'a valid token is needed', { 'WWW-Authenticate': 'Bearer' });
    }
    const tenant = await this.manager.get(claims.tenant, { timeoutMs: this.#settings.timeoutMs });
    if (tenant === null) throw new HttpError(403, 'there is no such shop');
    if (tenant.suspended) throw new HttpError(403, 'the shop is closed');
    response.locals.shop = await this.shop(tenant.id);
    response.locals.role = claims.role === 'admin' ? 'admin' : 'customer';
    next();
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.manager[Symbol.asyncDispose]();
  }
}

/** Lets only those go on whose token is an administrator's. */
export const adminOnly: Handler = (_request, response, next) => {
  if (response.locals.role !== 'admin') throw new HttpError(403, 'administrators only');
  next();
};
