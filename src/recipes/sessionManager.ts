import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient } from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { writeGuarded } from './guarded.js';
import { describe, keyOf, randomId } from './keys.js';
import { checkFields, checkWhole } from './options.js';
import { repeat } from './repeat.js';
import { checkSession, formatSession, parseSession } from './sessionData.js';
import type { SessionData } from './sessionData.js';

/** How long a session lives by default without being used, in milliseconds: one hour. */
const DEFAULT_TTL_MS = 3_600_000;
/** The longest that it may live: 366 days, in milliseconds. */
const MAX_TTL_MS = 366 * 86_400_000;
/** A session is touched once in that part of its time. */
const TOUCHES = 10;

/** Settings of a {@link SessionManager}. */
export interface SessionManagerOptions {
  /** How long a session lives at most, however often it is used, in milliseconds. Default: for as long as it is used. */
  readonly absoluteTtlMs?: number | undefined;
}

/** Options of {@link SessionManager.create}. */
export interface CreateSessionOptions extends CallOptions {
  /** Whatever else belongs to the session: anything that JSON can say. */
  readonly data?: unknown;
}

/** A session that is there, and where. */
interface Found {
  readonly entry: Entry;
  readonly session: SessionData;
}

/**
 * Sessions of users, which end by themselves when they were not used for a while.
 *
 * The store ends a session. `get` puts its end off, but writes only once in a tenth of the time to live, and only over what it
 * read: it never brings back a session that was destroyed, nor undoes an update. The ids are 128 random bits and are secrets:
 * who knows one has the session.
 *
 * Each call takes one round trip, `update` two, and `get` two once in a tenth of the time to live. The key is
 * `session/<id>`.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { SessionManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const sessions = new SessionManager(client, 1_800_000, { absoluteTtlMs: 86_400_000 });
 * const id = await sessions.create('user123', 'alice@example.com', ['user']);
 * await sessions.update(id, (session) => ({ ...session, roles: [...session.roles, 'premium'] }));
 * console.log((await sessions.get(id))?.roles.join(' ')); // user premium
 * console.log(await sessions.destroy(id), await sessions.get(id)); // true null
 * ```
 */
export class SessionManager {
  readonly #client: NoriKVClient;
  readonly #ttlMs: number;
  readonly #absoluteTtlMs: number;
  readonly #id = randomId();
  #writes = 0;

  /**
   * @param ttlMs - How long a session lives without being used, in milliseconds: a whole number from 1 to 366 days.
   * @throws `InvalidArgumentError`
   */
  constructor(client: NoriKVClient, ttlMs = DEFAULT_TTL_MS, options?: SessionManagerOptions) {
    const { absoluteTtlMs } = checkFields(options, 'settings of sessions', ['absoluteTtlMs']);
    this.#client = client;
    this.#ttlMs = checkWhole(ttlMs, 'ttlMs', 1, MAX_TTL_MS);
    this.#absoluteTtlMs =
      absoluteTtlMs === undefined
        ? Infinity
        : checkWhole(absoluteTtlMs, 'absoluteTtlMs', 1, MAX_TTL_MS);
  }

  /**
   * Begins a session; answers its id, 22 characters of `A-Z a-z 0-9 - _`.
   *
   * @param userId - 1 to 256 bytes of UTF-8, as is `email` and each of `roles`, of which there are at most 1,000.
   * @throws `InvalidArgumentError`
   */
  async create(
    userId: string,
    email: string,
    roles: readonly string[],
    options?: CreateSessionOptions,
  ): Promise<string> {
    const { data, ...call } = checkFields(options, 'options', ['data', 'signal', 'timeoutMs']);
    const deadline = new Deadline('making a session', call);
    const now = Date.now();
    const session = checkSession({
      userId,
      email,
      roles,
      createdAt: now,
      lastAccessedAt: now,
      data,
    });
    return await deadline.retry(async () => {
      const id = randomId();
      const version = await this.#write(id, null, session, now, deadline);
      return version === CONFLICT ? CONFLICT : id;
    });
  }

  /**
   * The session, if it lives, whose end this puts off; otherwise `null`.
   *
   * @param sessionId - Text that cannot be an id is that of no session.
   * @throws `InvalidArgumentError` if it is no text; `CorruptionError` if its key holds something else.
   */
  async get(sessionId: string, options?: CallOptions): Promise<SessionData | null> {
    const deadline = new Deadline('reading a session', options);
    const found = await this.#find(sessionId, deadline);
    if (found === null) return null;
    const { entry, session } = found;
    const now = Date.now();
    // Also if it was used in what is the future here: clocks differ.
    if (Math.abs(now - session.lastAccessedAt) < this.#ttlMs / TOUCHES) return session;
    const touched = { ...session, lastAccessedAt: now };
    const version = await this.#write(sessionId, entry, touched, now, deadline);
    // Somebody else touched it, changed it or ended it, which all are more than this.
    return version === CONFLICT ? session : touched;
  }

  /**
   * Changes a session, and puts its end off: `false` if it does not live. `fn` is called again if somebody else changed the
   * session meanwhile; when it was created stays as it was, and when it was accessed is now.
   *
   * @param fn - Makes the new session of the old one. What it throws ends the call.
   * @throws `InvalidArgumentError` if `fn` answers no session; `RetryExhaustedError` if others change it all the time, which says
   *   nothing about whether it lives; `CorruptionError`.
   */
  async update(
    sessionId: string,
    fn: (session: SessionData) => SessionData | Promise<SessionData>,
    options?: CallOptions,
  ): Promise<boolean> {
    if (typeof fn !== 'function') {
      throw new InvalidArgumentError(`an update is a function; got ${describe(fn)}`);
    }
    const deadline = new Deadline('the update of a session', options);
    return await deadline.retry(async () => {
      const found = await this.#find(sessionId, deadline);
      if (found === null) return false;
      const { createdAt } = found.session;
      const changed = checkSession(await fn(found.session));
      const now = Date.now();
      const session = { ...changed, createdAt, lastAccessedAt: now };
      const version = await this.#write(sessionId, found.entry, session, now, deadline);
      return version === CONFLICT ? CONFLICT : true;
    });
  }

  /** Ends a session: `true` if it lived until now. @throws `InvalidArgumentError` if the id is no text. */
  async destroy(sessionId: string, options?: CallOptions): Promise<boolean> {
    const deadline = new Deadline('the end of a session', options);
    if (!isSessionId(sessionId)) return false;
    const idempotencyKey = randomId();
    return await repeat(
      () => this.#client.delete(keyOf('session', sessionId), { idempotencyKey, ...deadline.call }),
      deadline,
    );
  }

  /** Whether a session lives, without putting its end off. @throws As {@link get}. */
  async validate(sessionId: string, options?: CallOptions): Promise<boolean> {
    return (await this.#find(sessionId, new Deadline('reading a session', options))) !== null;
  }

  async #find(sessionId: string, deadline: Deadline): Promise<Found | null> {
    if (!isSessionId(sessionId)) return null;
    const key = keyOf('session', sessionId);
    const entry = await this.#client.getOrNull(key, deadline.call);
    if (entry === null) return null;
    const session = parseSession(entry.text(), key);
    return this.#leftMs(session, Date.now()) > 0 ? { entry, session } : null;
  }

  /** How long a session lives from now on. */
  #leftMs({ createdAt }: SessionData, now: number): number {
    return Math.min(this.#ttlMs, createdAt + this.#absoluteTtlMs - now);
  }

  async #write(
    sessionId: string,
    current: Entry | null,
    session: SessionData,
    now: number,
    deadline: Deadline,
  ): ReturnType<typeof writeGuarded> {
    this.#writes += 1;
    const value = formatSession(session, `${this.#id}.${this.#writes}`);
    // What has just ended for good lives a millisecond longer in the store, and nobody sees it.
    const ttlMs = Math.max(1, Math.floor(this.#leftMs(session, now)));
    const key = keyOf('session', sessionId);
    return await writeGuarded(this.#client, { key, current, value, ttlMs }, deadline);
  }
}

/** Whether a text can be the id of a session. @throws `InvalidArgumentError` if it is no text. */
function isSessionId(sessionId: unknown): boolean {
  if (typeof sessionId !== 'string') {
    throw new InvalidArgumentError(`the id of a session is text; got ${describe(sessionId)}`);
  }
  return /^[\w-]{22}$/.test(sessionId);
}
