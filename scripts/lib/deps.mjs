// Makes node_modules what package-lock.json says, if it is not yet.
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { root } from './platform.mjs';

export function depsAreFresh() {
  const installed = path.join(root, 'node_modules', '.package-lock.json');
  const lock = path.join(root, 'package-lock.json');
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs;
}
