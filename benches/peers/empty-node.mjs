// The time that an empty Node process takes.
import { spawn } from 'node:child_process';

export async function open() {
  return {
    start: () =>
      new Promise((resolve, reject) => {
        spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' })
          .once('error', reject)
          .once('close', resolve);
      }),
  };
}
