// An example that is a page, as its users have it: served by Vite, in a Chromium.
import { spawn } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import type { Page } from 'playwright-core';
import { expect } from '@jest/globals';
import { root } from '../faults/children';

/** An example that is being served. */
export interface Site {
  readonly origin: string;
  close(): Promise<void>;
}

/** Serves an example by Vite. */
export async function serveExample(name: string): Promise<Site> {
  const program = path.join(root, 'node_modules', 'vite', 'bin', 'vite.js');
  const example = path.join(root, 'examples', name);
  const vite = spawn(process.execPath, [program, example, '--host', '127.0.0.1', '--port', '0'], {
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => {
    vite.once('close', () => {
      resolve();
    });
  });
  const origin = await new Promise<string>((resolve, reject) => {
    readline.createInterface({ input: vite.stdout }).on('line', (line) => {
      const [found] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? [];
      if (found !== undefined) resolve(found);
    });
    vite.once('close', (code) => {
      reject(new Error(`vite ended with ${code ?? 'a signal'}`));
    });
  });
  return {
    origin,
    async close() {
      vite.kill();
      await ended;
    },
  };
}

/** Waits until an expression in the page has a value; what it was instead is said in the error. */
export async function until(page: Page, expression: string, wanted: unknown): Promise<void> {
  const text = `JSON.stringify(${expression})`;
  try {
    await page.waitForFunction(`${text} === ${JSON.stringify(JSON.stringify(wanted))}`, undefined, {
      timeout: 15_000,
    });
  } catch {
    expect(JSON.parse(await page.evaluate<string>(text))).toEqual(wanted);
  }
}
