import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import { checkName, describe } from './keys.js';
import { checkFields } from './options.js';

/** The most roles of a session. */
const MAX_ROLES = 1_000;
/** How deep the data of a session may be. */
const MAX_DEPTH = 50;

/** What is known of a session. */
export interface SessionData {
  /** Whose it is. */
  readonly userId: string;
  /** The user's address. */
  readonly email: string;
  /** What the user may be. */
  readonly roles: readonly string[];
  /** When it was created, in milliseconds since the Unix epoch, by the clock of the process that did. */
  readonly createdAt: number;
  /** When it was last known to be in use, which is true to a tenth of its time to live. */
  readonly lastAccessedAt: number;
  /** Whatever else belongs to it: anything that JSON can say. Absent if there is nothing. */
  readonly data?: unknown;
}

/** What a user makes of a session. @throws `InvalidArgumentError` if it is no session. */
export function checkSession(given: SessionData): SessionData {
  if (typeof given !== 'object' || (given as unknown) === null) {
    throw new InvalidArgumentError(`a session is an object; got ${describe(given)}`);
  }
  checkFields(given, 'sessions', [
    'userId',
    'email',
    'roles',
    'createdAt',
    'lastAccessedAt',
    'data',
  ]);
  checkName(given.userId, 'the userId of a session');
  checkName(given.email, 'the email of a session');
  const roles: unknown = given.roles;
  if (!Array.isArray(roles) || roles.length > MAX_ROLES) {
    throw new InvalidArgumentError(
      `the roles of a session are an array of up to ${MAX_ROLES} names; got ${describe(roles)}`,
    );
  }
  for (const role of roles as readonly unknown[]) checkName(role, 'a role of a session');
  if (given.data !== undefined) checkJson(given.data, 'data', 0);
  return given;
}

/** Refuses what would not be the same after it was JSON. A field that is `undefined` is left out. */
function checkJson(value: unknown, where: string, depth: number): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (depth >= MAX_DEPTH) {
    throw new InvalidArgumentError(
      `the data of a session is at most ${MAX_DEPTH} levels deep, and has no circles`,
    );
  }
  if (Array.isArray(value)) {
    // By its length: a hole is no value either.
    const list: readonly unknown[] = value;
    for (let at = 0; at < list.length; at++) checkJson(list[at], `${where}[${at}]`, depth + 1);
    return;
  }
  const plain = Object.prototype.toString.call(value) === '[object Object]';
  if (plain && typeof value === 'object' && typeof Reflect.get(value, 'toJSON') !== 'function') {
    for (const [name, field] of Object.entries(value) as [string, unknown][]) {
      if (field !== undefined) checkJson(field, `${where}.${name.slice(0, 40)}`, depth + 1);
    }
    return;
  }
  throw new InvalidArgumentError(
    `the data of a session is what JSON can say: text, finite numbers, true, false, null, arrays and plain objects; ${where} is ${describe(value)}`,
  );
}

/** What is stored, with the name of the write. */
export function formatSession(session: SessionData, by: string): string {
  const { userId, email, roles, createdAt, lastAccessedAt, data } = session;
  return JSON.stringify({ userId, email, roles, createdAt, lastAccessedAt, data, by });
}

/** What a stored text says. @throws `CorruptionError` if it says nothing of the kind. */
export function parseSession(text: string, key: string): SessionData {
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch {
    stored = undefined;
  }
  const field = (name: string): unknown =>
    typeof stored === 'object' && stored !== null && Object.hasOwn(stored, name)
      ? Reflect.get(stored, name)
      : undefined;
  const [userId, email, roles] = [field('userId'), field('email'), field('roles')];
  const [createdAt, lastAccessedAt, data] = [
    field('createdAt'),
    field('lastAccessedAt'),
    field('data'),
  ];
  if (
    typeof userId !== 'string' ||
    typeof email !== 'string' ||
    typeof createdAt !== 'number' ||
    typeof lastAccessedAt !== 'number' ||
    !isTexts(roles)
  ) {
    throw new CorruptionError(
      `the key ${describe(key)} holds no session; it was not written by a SessionManager, and is left as it is`,
    );
  }
  const session = { userId, email, roles, createdAt, lastAccessedAt };
  return data === undefined ? session : { ...session, data };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}
