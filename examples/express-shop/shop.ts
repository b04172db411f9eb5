import type { NoriKVClient } from '@norikv/client';
import { InventoryManager, SemanticSearchEngine, SessionManager } from '@norikv/client/recipes';
import type { TenantClient } from '@norikv/client/recipes';
import { Purchases } from './purchases.js';
import type { Settings } from './settings.js';
import { words } from '../lib/words.js';

/** What one tenant's shop is made of. Each recipe has the same client: the tenant's part of the store. */
export class Shop {
  private constructor(
    readonly tenantId: string,
    /** What the tenant keeps themselves, within the limits of their plan. */
    readonly own: TenantClient,
    readonly client: NoriKVClient,
    readonly sessions: SessionManager,
    readonly inventory: InventoryManager,
    readonly purchases: Purchases,
    readonly search: SemanticSearchEngine,
  ) {}

  static async open(
    store: NoriKVClient,
    tenantId: string,
    own: TenantClient,
    settings: Settings,
  ): Promise<Shop> {
    const client = store.namespace(`shop/${encodeURIComponent(tenantId)}/`);
    const inventory = new InventoryManager(client);
    const search = new SemanticSearchEngine(client, words);
    await search.initialize({ timeoutMs: settings.timeoutMs });
    return new Shop(
      tenantId,
      own,
      client,
      new SessionManager(client, settings.sessionMs),
      inventory,
      new Purchases(client, inventory, settings),
      search,
    );
  }
}
