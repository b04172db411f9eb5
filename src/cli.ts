import './entry.node.js';
import { nodeBinding } from './binding.js';

/** The signals that the command itself waits for. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Runs the `norikv` command, and answers its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  // The core hands a signal on to the handler that it found. Node's default one would raise the signal again, and
  // so without end; a listener of our own takes its place.
  for (const signal of SIGNALS) process.on(signal, leaveToTheCore);
  try {
    return await nodeBinding().runCli(['norikv', ...args]);
  } finally {
    for (const signal of SIGNALS) process.off(signal, leaveToTheCore);
  }
}

function leaveToTheCore(): void {
  // The command ends by itself.
}
