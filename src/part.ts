import { Failure } from './failure.js';
import type { Reply } from './reply.js';
import type { Request, Session } from './session.js';
import { cutStack } from './stack.js';
import type { Caller } from './stack.js';

/** A part of a store: the session that reaches it, and the namespace, if it is not the whole store. */
export class Part {
  constructor(
    readonly session: Session,
    readonly prefix: Uint8Array | undefined,
  ) {}

  /** Makes a call, and throws its failure with a stack that begins in the caller of `caller`. */
  async call(caller: Caller, request: Request): Promise<Exclude<Reply, Failure>> {
    let made: Promise<Reply>;
    try {
      made = this.session.call(request, this.prefix);
    } catch (error) {
      if (error instanceof Error) cutStack(error, caller);
      throw error;
    }
    const reply = await made;
    if (reply instanceof Failure) throw reply.toError(caller);
    this.session.connected = true;
    return reply;
  }
}
