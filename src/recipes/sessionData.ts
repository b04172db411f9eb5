import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import { checkJson } from './json.js';
import { checkName, describe } from './keys.js';
import { checkFields } from './options.js';

/** The most roles of a session. */
const MAX_ROLES = 1_000;

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
  if (given.data !== undefined) checkJson(given.data, 'data');
  return given;
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
