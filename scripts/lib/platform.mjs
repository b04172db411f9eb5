// The platforms the addon is built for, and which of them this machine is.
// A platform's name is that of its folder in npm/ and the end of its package's name.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

export const platforms = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-x64-msvc',
];

/** The name of the platform this process runs on, whether or not an addon is built for it. */
export function hostPlatform() {
  const machine = `${process.platform}-${process.arch}`;
  if (process.platform === 'linux') {
    const { header } = process.report.getReport();
    return `${machine}-${header.glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`;
  }
  return process.platform === 'win32' ? `${machine}-msvc` : machine;
}

export function requirePlatform(name) {
  if (!platforms.includes(name)) {
    throw new Error(`no addon is built for ${name}; there is one for ${platforms.join(', ')}`);
  }
  return name;
}

/** Where the addon of a platform lies, in the working tree and in its package. */
export function addonPath(name) {
  return path.join(root, 'npm', name, `norikv.${name}.node`);
}

/** What cargo calls the library it builds from crates/node for that platform. */
export function libraryName(name) {
  if (name.startsWith('win32')) return 'norikv_node.dll';
  return name.startsWith('darwin') ? 'libnorikv_node.dylib' : 'libnorikv_node.so';
}

export function readJson(...parts) {
  return JSON.parse(readFileSync(path.join(root, ...parts), 'utf8'));
}
