// Processes of examples/express-shop, and what a browser asks of them.
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { rmSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { afterAll, afterEach, beforeAll } from '@jest/globals';
import { root } from '../faults/children';

export const SECRET = 'a secret that only the shop and these tests know';
const program = path.join(root, 'target', 'apps', `express-shop-${process.pid}.mjs`);

beforeAll(() => {
  const esbuild = path.join(root, 'node_modules', '.bin', 'esbuild');
  const flags = ['--bundle', '--platform=node', '--format=esm', '--packages=external'];
  const main = path.join('examples', 'express-shop', 'server.ts');
  const where = [`--outfile=${program}`, '--target=es2022', '--log-level=error'];
  execFileSync(esbuild, [main, ...flags, ...where], { cwd: root });
});

const running = new Set<App>();
async function killAll(): Promise<void> {
  await Promise.all([...running].map((app) => app.kill()));
}
afterEach(killAll);
afterAll(async () => {
  await killAll();
  rmSync(program, { force: true });
});

/** A process of the shop. */
export class App {
  /** Everything that it wrote. */
  output = '';
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  origin = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.ended = new Promise((resolve) => {
      child.once('close', (code) => {
        running.delete(this);
        resolve(code);
      });
    });
    child.stderr?.on('data', (text: Buffer) => (this.output += text.toString()));
    running.add(this);
  }

  /** Starts one on servers; `env` is as of `server.ts`. */
  static async start(nodes: string, env: Readonly<Record<string, string>>): Promise<App> {
    const child = spawn(process.execPath, [program, '--nodes', nodes], {
      env: { ...process.env, PORT: '0', SHOP_SECRET: SECRET, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const app = new App(child);
    app.origin = await new Promise<string>((resolve, reject) => {
      readline.createInterface({ input: child.stdout }).on('line', (line) => {
        const [found] = /http:\/\/\S+/.exec(line) ?? [];
        if (found !== undefined) resolve(found);
      });
      void app.ended.then((code) => {
        reject(new Error(`the shop ended with ${String(code)}: ${app.output}`));
      });
    });
    return app;
  }

  /** Ends it without a word. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  /** Asks it to end; answers how it did. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return await this.ended;
  }
}

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token, signed as it should be unless something else is said. */
export function token(
  claims: Readonly<Record<string, unknown>>,
  { secret = SECRET, alg = 'HS256' } = {},
): string {
  const text = `${encode({ alg, typ: 'JWT' })}.${encode(claims)}`;
  const signature = createHmac('sha256', secret).update(text).digest('base64url');
  return alg === 'none' ? `${text}.` : `${text}.${signature}`;
}

/** What the shop answered. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Somebody with a token, who keeps the cookie that they are given. */
export class Browser {
  cookie: string | undefined;
  readonly #token: string | undefined;

  constructor(bearer?: string) {
    this.#token = bearer;
  }

  async ask({ origin }: App, method: string, where: string, body?: object): Promise<Answer> {
    const headers = new Headers();
    if (this.#token !== undefined) headers.set('authorization', `Bearer ${this.#token}`);
    if (this.cookie !== undefined) headers.set('cookie', this.cookie);
    if (body !== undefined) headers.set('content-type', 'application/json');
    const text = body === undefined ? null : JSON.stringify(body);
    const response = await fetch(origin + where, { method, headers, body: text });
    const [cookie] = response.headers.getSetCookie();
    if (cookie !== undefined) this.cookie = cookie.split(';')[0];
    const answer = (await response.json()) as Answer['body'];
    return { status: response.status, headers: response.headers, body: answer };
  }
}
