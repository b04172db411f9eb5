// Reads how many tests passed, failed and were skipped from what a runner printed.
import { readFileSync, rmSync } from 'node:fs';

const number = (text, pattern) => Number(pattern.exec(text)?.[1] ?? 0);

/** The counts of a runner that failed count at least one failure; no test at all is one too. */
function settle({ passed, failed, skipped = 0 }, { code }, mayBeEmpty = false) {
  if (code !== 0 && failed === 0) return { passed, failed: 1, skipped, note: `exit code ${code}` };
  if (passed + failed === 0 && !mayBeEmpty)
    return { passed, failed: 1, skipped, note: 'ran no test' };
  return { passed, failed, skipped };
}

/** A program that is one check: its exit code tells. */
export function countCheck(result) {
  return settle({ passed: result.code === 0 ? 1 : 0, failed: 0 }, result);
}

export function countNextest(result) {
  const summary = /^\s*Summary \[.*?\].*$/m.exec(result.output)?.[0] ?? '';
  const failed =
    number(summary, /(\d+) failed/) +
    number(summary, /(\d+) timed out/) +
    number(summary, /(\d+) exec failed/);
  return settle(
    { passed: number(summary, /(\d+) passed/), failed, skipped: number(summary, /(\d+) skipped/) },
    result,
  );
}

/** `cargo test` prints one line for each crate. */
export function countCargoTest(result) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const lines = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm;
  for (const [, passed, failed, ignored] of result.output.matchAll(lines)) {
    total.passed += Number(passed);
    total.failed += Number(failed);
    total.skipped += Number(ignored);
  }
  return settle(total, result, true);
}

/** Jest writes its counts to a file (`--json --outputFile`). */
export function countJest(file) {
  return (result) => {
    let report = {};
    try {
      report = JSON.parse(readFileSync(file, 'utf8'));
      rmSync(file);
    } catch {
      // It ended before it wrote the report; the exit code says the rest.
    }
    return settle(
      {
        passed: report.numPassedTests ?? 0,
        failed: (report.numFailedTests ?? 0) + (report.numRuntimeErrorTestSuites ?? 0),
        skipped: (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0),
      },
      result,
    );
  };
}

export function countsLine({ passed, failed, skipped = 0 }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** Our own scripts close with that line. */
export function countOwn(result) {
  const closing = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm;
  const [, passed, failed, skipped] = [...result.output.matchAll(closing)].at(-1) ?? [];
  return settle(
    { passed: Number(passed ?? 0), failed: Number(failed ?? 0), skipped: Number(skipped ?? 0) },
    result,
  );
}
