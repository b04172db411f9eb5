// How Rust is built for browsers: with the wasm target of this machine's toolchain where there is one, and otherwise with
// Debian's packaged compiler, whose std is built from its packaged source. Some networks let no toolchain be fetched.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { run } from './exec.mjs';
import { root } from './platform.mjs';

export const TARGET = 'wasm32-unknown-unknown';
const PACKAGES = [
  'rustc-web',
  'libstd-rust-web-1.96',
  'libstd-rust-web-dev',
  'rust-web-src',
  'libllvm22',
];
const tools = path.join(root, 'target', 'web-tools');

function asked(command, args) {
  return execFileSync(command, args, { encoding: 'utf8' }).trim();
}

/** Whether the toolchain itself has the target. */
function hasTarget() {
  const libraries = asked('rustc', ['--print', 'target-libdir', '--target', TARGET]);
  return existsSync(libraries) && readdirSync(libraries).length > 0;
}

/** Answers the arguments and the environment that `cargo build` takes for the target. */
export async function wasmBuild() {
  if (hasTarget()) return { args: ['--target', TARGET], env: {} };
  const system = await debian();
  const sysroot = asked('rustc', ['--print', 'sysroot']);
  const host = /^host: (.*)$/m.exec(asked('rustc', ['-vV']))[1];
  return {
    args: ['--target', TARGET, '-Zbuild-std=std,panic_abort'],
    env: {
      RUSTC: path.join(system, 'usr', 'bin', 'rustc'),
      LD_LIBRARY_PATH: path.join(system, 'usr', 'lib', `${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`),
      // The flags that build std are those of a nightly compiler; a stable one takes them if it is told to.
      RUSTC_BOOTSTRAP: '1',
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: path.join(
        sysroot, 'lib', 'rustlib', host, 'bin', 'rust-lld',
      ),
    },
  };
}

/** Debian's compiler and std, unpacked and not installed. Answers where. */
async function debian() {
  const unpacked = path.join(tools, 'debian');
  if (existsSync(unpacked)) return unpacked;
  const draft = `${unpacked}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(path.join(draft, 'packages'), { recursive: true });
  const packages = path.join(draft, 'packages');
  const fetched = await run('apt-get', ['download', ...PACKAGES], { cwd: packages });
  if (fetched.code !== 0) {
    throw new Error(
      `Rust cannot build for browsers here. Run \`rustup target add ${TARGET}\`, or on Debian \`apt-get update\`:\n${fetched.output}`,
    );
  }
  for (const file of readdirSync(packages)) {
    const { code, output } = await run('dpkg', ['-x', path.join(packages, file), draft]);
    if (code !== 0) throw new Error(`${file} cannot be unpacked:\n${output}`);
  }
  rmSync(packages, { recursive: true });
  renameSync(draft, unpacked);
  return unpacked;
}

/** wasm-bindgen's program, of the very version of the library. Answers where it is. */
export async function wasmBindgen(onLine) {
  const version = asked('cargo', ['pkgid', 'wasm-bindgen']).split('@').at(-1);
  const place = path.join(tools, `wasm-bindgen-${version}`);
  const program = path.join(place, 'bin', 'wasm-bindgen');
  if (existsSync(program)) return program;
  const args = ['install', 'wasm-bindgen-cli', '--version', version, '--root', place];
  const { code, output } = await run('cargo', args, { onLine });
  if (code !== 0) throw new Error(`wasm-bindgen-cli ${version} cannot be installed:\n${output}`);
  return program;
}
