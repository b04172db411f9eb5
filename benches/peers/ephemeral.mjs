// A server inside the process, from nothing to its first answer.
import { createEphemeral } from '../../dist/index.mjs';

export async function open() {
  let last;
  return {
    async start() {
      last = await createEphemeral();
      await last.getClient().getOrNull('key');
    },
    /** Awaited after each measured call, and not part of it. */
    rest: () => last.stop(),
  };
}
