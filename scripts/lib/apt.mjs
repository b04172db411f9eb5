// Programs of other projects that tests and benchmarks use, from Debian's packages.
import { asRoot, run } from './exec.mjs';

/** What installs a Debian package, as programs to run one after the other; none where that cannot be done. */
export async function aptInstall(name) {
  if ((await run('apt-get', ['--version'])).code !== 0) return [];
  const root = asRoot().join(' ');
  const get = `${root} apt-get update; ${root} env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${name} || true`;
  return [['sh', '-c', get]];
}
