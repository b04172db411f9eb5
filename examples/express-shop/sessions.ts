import { Router } from 'express';
import { HttpError, fieldsOf, shopOf, textOf } from './http.js';
import type { Handler } from './http.js';
import type { Settings } from './settings.js';

const COOKIE = 'sid';

function cookieOf(header: string | undefined): string | undefined {
  const pairs = (header ?? '').split(';').map((pair) => pair.trim().split('='));
  return pairs.find(([name]) => name === COOKIE)?.[1];
}

/** Finds the session of a request, if it has one. */
export function findSession({ timeoutMs }: Settings): Handler {
  return async (request, response, next) => {
    const id = cookieOf(request.get('cookie'));
    // Whatever else somebody may have put there is no session.
    if (id !== undefined && /^[\w-]{1,64}$/.test(id)) {
      const data = await shopOf(response).sessions.get(id, { timeoutMs });
      if (data !== null) response.locals.session = { ...data, id };
    }
    next();
  };
}

/** Lets only those go on who are logged in. */
export const loggedInOnly: Handler = (_request, response, next) => {
  if (response.locals.session === undefined) throw new HttpError(401, 'log in first');
  next();
};

/** Logging in and out. Whoever has a token of the shop may be any customer here: a real shop asks for a password. */
export function sessionRoutes({ timeoutMs, sessionMs }: Settings): Router {
  const router = Router();
  const cookie = { httpOnly: true, sameSite: 'lax', maxAge: sessionMs } as const;
  const login: Handler = async (request, response) => {
    const fields = fieldsOf(request.body);
    const user = textOf(fields.user, 'user');
    const email = textOf(fields.email, 'email');
    const id = await shopOf(response).sessions.create(user, email, ['customer'], { timeoutMs });
    response.cookie(COOKIE, id, cookie).status(201).json({ user });
  };
  const me: Handler = (_request, response) => {
    const { session } = response.locals;
    response.json({ user: session?.userId, email: session?.email });
  };
  const logout: Handler = async (_request, response) => {
    const { session } = response.locals;
    if (session) await shopOf(response).sessions.destroy(session.id, { timeoutMs });
    response.clearCookie(COOKIE).json({});
  };
  router.post('/login', login);
  router.get('/me', loggedInOnly, me);
  router.post('/logout', loggedInOnly, logout);
  return router;
}
