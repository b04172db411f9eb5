// What the routes have in common: their types, what a request brought along, and errors as answers.
import type { ErrorRequestHandler, RequestHandler, Response } from 'express';
import { NoriKVError } from '@norikv/client';
import type { SessionData } from '@norikv/client/recipes';
import type { Shop } from './shop.js';

/** What is known of a request once those who come first have looked at it. */
export interface Locals extends Record<string, unknown> {
  /** The shop of the tenant whom the token names. */
  shop?: Shop;
  /** What the token lets its bearer do. */
  role?: 'admin' | 'customer';
  /** Who it is, if they are logged in. */
  session?: SessionData & { readonly id: string };
}
export type Handler = RequestHandler<
  Readonly<Record<string, string>>,
  unknown,
  unknown,
  Readonly<Record<string, unknown>>,
  Locals
>;
export type Answer = Response<unknown, Locals>;

/** An answer that is no success, for people who read it. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

export function shopOf({ locals }: Answer): Shop {
  if (locals.shop === undefined) throw new HttpError(401, 'a token is needed');
  return locals.shop;
}

/** The fields of a body that has to be an object. */
export function fieldsOf(body: unknown): Readonly<Record<string, unknown>> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new HttpError(400, 'the body is a JSON object');
  return { ...body };
}

export function textOf(value: unknown, name: string): string {
  if (typeof value === 'string' && value !== '' && value.length <= 200) return value;
  throw new HttpError(400, `${name} is text of 1 to 200 characters`);
}

export function numberOf(value: unknown, name: string, least: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return value;
  throw new HttpError(400, `${name} is a whole number from ${least}`);
}

/** What an error of the store is over HTTP; anything else is a fault of ours. */
const STATUS: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  PERMISSION_DENIED: 403,
  KEY_NOT_FOUND: 404,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  VERSION_MISMATCH: 409,
};
/** How long a caller is told to wait for a store that is away, in seconds. */
const AGAIN_S = 1;

function answerOf(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof NoriKVError) {
    const status = STATUS[error.code];
    if (error.outcome !== 'unknown' && status !== undefined)
      return new HttpError(status, error.message);
    // It is away, too busy, or it is not known whether it did what it was asked: ask again.
    const again = error.retryable || error.outcome === 'unknown';
    if (again || error.code === 'RETRY_EXHAUSTED' || error.code === 'CANCELLED') {
      const headers = { 'Retry-After': String(AGAIN_S) };
      return new HttpError(503, 'the store does not answer; try again', headers);
    }
  }
  // What express found wrong with the request says so.
  const status: unknown = error instanceof Error && 'status' in error ? error.status : undefined;
  if (error instanceof Error && typeof status === 'number' && status < 500)
    return new HttpError(status, error.message);
  return new HttpError(500, 'something went wrong');
}

/** Express knows error handlers by their four parameters. */
export const answerErrors: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  const { status, message, headers } = answerOf(error);
  if (status === 500) console.error(error);
  if (response.headersSent) {
    next(error);
    return;
  }
  response.status(status).set(headers).json({ error: message });
};
