// Node only: a proxy of sockets takes replies away.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { SessionManager } from '@norikv/client/recipes';
import { keysOf } from './bad';
import { lossy } from './lost';
import type { Lossy } from './lost';

describe('a SessionManager whose replies get lost', () => {
  let store: Lossy;
  let far: SessionManager;
  let near: SessionManager;

  beforeEach(async () => {
    store = await lossy();
    far = new SessionManager(store.far, 60_000);
    near = new SessionManager(store.near, 60_000);
  });
  afterEach(() => store.close());

  test('creates one session, and knows its id', async () => {
    const id = await store.lose('put', () => far.create('ada', 'ada@example.com', []));
    expect(await keysOf(store.near)).toEqual([`session/${id}`]);
  });

  test('applies an update once, also if it was destroyed before it could ask again', async () => {
    const id = await far.create('ada', 'ada@example.com', []);
    const updated = await store.lose('put', () =>
      far.update(id, (old) => ({ ...old, roles: [...old.roles, 'user'] })),
    );
    expect(updated).toBe(true);
    expect((await near.get(id))?.roles).toEqual(['user']);
    const again = await store.lose(
      'put',
      () => far.update(id, (old) => ({ ...old, roles: [...old.roles, 'admin'] })),
      () => near.destroy(id),
    );
    expect(again).toBe(true);
    expect(await near.get(id)).toBeNull();
  });

  test('destroys it, and says that it was there', async () => {
    const id = await far.create('ada', 'ada@example.com', []);
    expect(await store.lose('delete', () => far.destroy(id))).toBe(true);
    expect(await far.destroy(id)).toBe(false);
  });
});
