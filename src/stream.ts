import type { Reply } from './reply.js';

/** The replies of a call that goes on after its first one. It ends with `undefined` or a failure. */
export class Stream {
  /** The number of the call, while it has one. */
  id: number | undefined;
  /** Fires to end it. */
  signal: AbortSignal | undefined;

  constructor(
    /** Hears every reply after the first, the last one included. */
    readonly hear: (reply: Reply) => void,
  ) {}
}
