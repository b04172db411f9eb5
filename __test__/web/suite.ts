// Runs one suite and reports how it went, in a page, a worker, or Node.
import type { Result } from './runner.js';
import { plan, run } from './runner.js';

/** What a suite reports. */
export type Message =
  | { readonly type: 'plan'; readonly names: readonly string[] }
  | { readonly type: 'begin'; readonly name: string }
  | { readonly type: 'end'; readonly result: Result }
  /** What went wrong outside of the tests. */
  | { readonly type: 'stray'; readonly detail: string }
  | { readonly type: 'done' };

/** A Buffer is a Uint8Array of a class of its own; the suites ask no more of it than that. */
class Buffer extends Uint8Array {
  static override from(text: unknown): Buffer {
    return new Buffer(new TextEncoder().encode(String(text)));
  }
}

/** Runs the suite of a name like `api/get.test`. */
export async function runSuite(name: string, report: (message: Message) => void): Promise<void> {
  if (!('Buffer' in globalThis)) Object.assign(globalThis, { Buffer });
  try {
    await import(new URL(`../${name}.js`, import.meta.url).href);
    report({ type: 'plan', names: plan() });
    const stray = await run(
      (test) => {
        report({ type: 'begin', name: test });
      },
      (result) => {
        report({ type: 'end', result });
      },
    );
    for (const detail of stray) report({ type: 'stray', detail });
  } catch (error) {
    report({
      type: 'stray',
      detail: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }
  report({ type: 'done' });
}
