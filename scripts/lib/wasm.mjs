// How Rust is built for browsers. std is built along, from its source, which makes it small: that of this machine's
// toolchain (rustup's component rust-src) or, where there is none, Debian's packaged compiler and source, unpacked and
// not installed. Some networks let no toolchain be fetched. A toolchain that has the target alone will do: larger.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { asRoot, run } from './exec.mjs';
import { root } from './platform.mjs';

export const TARGET = 'wasm32-unknown-unknown';

export const targetDirectory = path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
/** What is fetched for the build, and kept. */
const tools = path.join(targetDirectory, 'web-tools');

/** Why it is not built, and what helps. */
export const CANNOT =
  'Rust cannot build for browsers here (rustup component add rust-src; on Debian: apt-get update)';

/** A panic ends the wasm at once, without a word: no messages, no places, nothing that prints values. */
const SMALL = '-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none';
const STD = ['-Zbuild-std=std,panic_abort', '-Zbuild-std-features=optimize_for_size'];
/** These flags are a nightly compiler's; a stable one takes them when it is told to. */
const UNSTABLE = { RUSTC_BOOTSTRAP: '1', RUSTFLAGS: SMALL };

function asked(command, args) {
  return execFileSync(command, args, { cwd: root, encoding: 'utf8' }).trim();
}

/** What this machine's own toolchain has; undefined if there is none, as cargo is then missing, too. */
async function toolchain() {
  const place = await run('rustc', ['--print', 'sysroot']);
  const version = await run('rustc', ['--version', '--verbose']);
  if (place.code !== 0 || version.code !== 0) return undefined;
  // Where rustup says something before, it is the last line.
  const sysroot = place.output.trim().split('\n').at(-1);
  const library = (...names) => path.join(sysroot, 'lib', 'rustlib', ...names);
  const [, host] = /^host: (.*)$/m.exec(version.output);
  const target = library(TARGET, 'lib');
  return {
    hasSource: existsSync(library('src', 'rust', 'library', 'std', 'Cargo.toml')),
    hasTarget: existsSync(target) && readdirSync(target).length > 0,
    linker: library(host, 'bin', process.platform === 'win32' ? 'rust-lld.exe' : 'rust-lld'),
  };
}

/** Whether this machine can build for browsers, if need be after fetching what it needs. */
export async function canBuildForWeb() {
  const own = await toolchain();
  if (own === undefined) return false;
  if (own.hasSource || own.hasTarget || existsSync(path.join(tools, 'debian'))) return true;
  if (await aptHasSource()) return true;
  // A fresh Debian knows no package at all until it is told to look.
  const [command, ...first] = asRoot();
  const { code } = await run(command, [...first, 'apt-get', 'update']);
  return code === 0 && aptHasSource();
}

async function aptHasSource() {
  const { code, output } = await run('apt-cache', ['show', 'rust-web-src']);
  return code === 0 && output.includes('Package: rust-web-src');
}

/**
 * Answers the arguments and the environment that `cargo build` takes for the target, what to say of them, and whether the
 * result is `small`: as it is published.
 */
export async function wasmBuild() {
  const own = await toolchain();
  if (own === undefined) throw new Error(CANNOT);
  const { hasSource, hasTarget, linker } = own;
  const args = ['--target', TARGET];
  if (hasSource)
    return { args: [...args, ...STD], env: UNSTABLE, small: true, note: 'std from rust-src' };
  if (hasTarget) {
    const note =
      'std as rustup has it, so the result is larger than what is published: `rustup component add rust-src`';
    return { args, env: {}, small: false, note };
  }
  const system = await debian();
  return {
    args: [...args, ...STD],
    env: {
      ...UNSTABLE,
      RUSTC: path.join(system, 'usr', 'bin', 'rustc'),
      LD_LIBRARY_PATH: path.join(
        system,
        'usr',
        'lib',
        `${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`,
      ),
      // Debian's lld is a package of its own, and the toolchain that runs cargo has one.
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: linker,
    },
    small: true,
    note: "std from Debian's package rust-web-src",
  };
}

/** Debian's compiler, the libraries it needs, and the source of std. Their names carry versions. */
async function packages() {
  const found = new Set(['rustc-web', 'rust-web-src', 'rust-web-clippy']);
  for (const name of found) {
    const { output } = await run('apt-cache', ['depends', '--important', name]);
    for (const [, needed] of output.matchAll(
      /Depends: (libstd-rust-web-[\w.-]+|libllvm[\w.-]+)/g,
    )) {
      found.add(needed);
    }
  }
  return [...found];
}

/** Debian's compiler and std, unpacked and not installed. Answers where. */
async function debian() {
  const unpacked = path.join(tools, 'debian');
  if (existsSync(unpacked)) return unpacked;
  const draft = `${unpacked}.new`;
  rmSync(draft, { recursive: true, force: true });
  const files = path.join(draft, 'packages');
  mkdirSync(files, { recursive: true });
  const fetched = await run('apt-get', ['download', ...(await packages())], { cwd: files });
  if (fetched.code !== 0) {
    throw new Error(`${CANNOT}\n${fetched.output}`);
  }
  for (const file of readdirSync(files).filter((name) => name.endsWith('.deb'))) {
    const { code, output } = await run('dpkg-deb', ['-x', path.join(files, file), draft]);
    if (code !== 0) throw new Error(`${file} cannot be unpacked:\n${output}`);
  }
  rmSync(files, { recursive: true });
  renameSync(draft, unpacked);
  return unpacked;
}

/** Cargo's clippy with what it takes for the target; undefined if the compiler has none. */
export async function wasmClippy() {
  const { args, env } = await wasmBuild();
  if (env.RUSTC === undefined) {
    const { code } = await run('cargo', ['clippy', '--version']);
    return code === 0 ? { command: 'cargo', args, env } : undefined;
  }
  const command = path.join(path.dirname(env.RUSTC), 'cargo-clippy');
  return existsSync(command) ? { command, args, env } : undefined;
}

/** wasm-bindgen's program, of the very version of the library. Answers where it is. */
export async function wasmBindgen(onLine) {
  const version = asked('cargo', ['pkgid', 'wasm-bindgen']).split('@').at(-1);
  const present = await run('wasm-bindgen', ['--version']);
  if (present.code === 0 && present.output.trim() === `wasm-bindgen ${version}`) {
    return 'wasm-bindgen';
  }
  const place = path.join(tools, `wasm-bindgen-${version}`);
  const program = path.join(place, 'bin', 'wasm-bindgen');
  if (existsSync(program)) return program;
  const crate = ['wasm-bindgen-cli', '--version', version, '--bin', 'wasm-bindgen'];
  // A build of its own: not with the compiler, nor the flags, nor the directory of the build for browsers. Not optimised:
  // it runs for a second, and optimising it takes minutes.
  const args = ['install', '--debug', ...crate, '--root', place];
  const { code, output } = await run('cargo', args, {
    onLine,
    env: { CARGO_TARGET_DIR: undefined },
  });
  if (code !== 0) throw new Error(`wasm-bindgen-cli ${version} cannot be installed:\n${output}`);
  return program;
}
