import './entry.node.js';
import { nodeBinding } from './binding.js';

/** Runs the `norikv` command, and answers its exit code. */
export function main(args: readonly string[]): Promise<number> {
  return nodeBinding().runCli([...args]);
}
