// The packed tarball in a page, as each bundler makes it with its default settings and as files served as they are; and
// the same build where there is no addon.
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { outputOfFolder, outputOfVite, storeAddress, testInPage } from './pages';
import { makeProject, root, run, slow } from './project';

/** What is done with the client, wherever it was loaded; answers what came of it. */
const use = `
  export async function use({ KeyNotFoundError, NoriKVClient }, address) {
    const client = await NoriKVClient.open(address);
    const watch = client.watch({ prefix: 'used/' });
    await watch.ready;
    await client.put('used/key', 'hello');
    const entry = await client.get('used/key');
    let event = '';
    for await (const { events } of watch) {
      event = events[0].type + ' ' + events[0].entry.text();
      break;
    }
    const missing = await client.get('missing').catch((error) => error);
    const refused = ['memory:', 'etcd://127.0.0.1:2379'].map((address) =>
      NoriKVClient.open(address).catch((error) => error),
    );
    const others = (await Promise.all(refused)).map(({ name }) => name);
    await client.close();
    if (!(missing instanceof KeyNotFoundError)) throw missing;
    return [entry.text(), event, missing.name, ...others].join(', ');
  }
`;
const USED = 'hello, put hello, KeyNotFoundError, UnsupportedError, UnsupportedError';

const serverIsRefused = `
  import { startServer } from '@norikv/client/server';
  const refused = startServer({ store: 'memory:' }).catch((error) => {
    if (!(error instanceof norikv.UnsupportedError)) throw error;
  });
`;

/** A page's program writes what came of it into the page. That no text runs as code shows that the policy is in force. */
const program = (specifier: string): string => `
  import * as norikv from '${specifier}';
  import { use } from './use.js';
  ${specifier === '@norikv/client' ? serverIsRefused : 'const refused = undefined;'}

  async function main() {
    await refused;
    const used = await use(norikv, new URLSearchParams(location.search).get('server'));
    try {
      Reflect.construct(Function, ['']);
    } catch {
      return used;
    }
    return 'the page runs text as code';
  }
  main().catch((error) => error.stack).then((text) => {
    const output = document.createElement('output');
    output.textContent = text;
    document.body.append(output);
  });
`;

const page = (script: string): string =>
  `<!doctype html><meta charset="utf-8"><title>A page</title><body>${script}</body>\n`;
const asModule = page('<script type="module" src="./main.js"></script>');
const asScript = page('<script defer src="./main.js"></script>');

const tool = (name: string): string => path.join(root, 'node_modules', '.bin', name);
const built = path.join('node_modules', '@norikv', 'client', 'dist', 'web');

/** Webpack's own command is a package of its own; this is what it does without settings. */
const webpack = `
  require(process.argv[1])({ mode: 'production', entry: './main.js' }, (error, stats) => {
    if (error || stats.hasErrors()) throw error ?? new Error(stats.toString());
  });
`;

interface Bundler {
  readonly name: string;
  /** What the page is, where the bundler does not make it. */
  readonly html?: string;
  readonly command: readonly [string, ...string[]];
}

const bundlers: readonly Bundler[] = [
  { name: 'vite', command: [tool('vite'), 'build'] },
  {
    name: 'webpack',
    html: asScript,
    command: [process.execPath, '-e', webpack, path.join(root, 'node_modules', 'webpack')],
  },
  {
    name: 'rollup',
    html: asModule,
    command: [
      ...([tool('rollup'), 'main.js', '-d', 'dist', '-f', 'es'] as const),
      ...['-p', '@rollup/plugin-node-resolve={browser:true}'],
    ],
  },
  {
    name: 'esbuild',
    html: asScript,
    command: [tool('esbuild'), 'main.js', '--bundle', '--outfile=dist/main.js'],
  },
];

/** A project whose program imports the client by a specifier. */
function makePage(name: string, specifier: string): string {
  const files = { 'index.html': asModule, 'main.js': program(specifier), 'use.js': use };
  return makeProject({ name, type: 'module', files });
}

/** The folder of a bundled page. */
function bundled(folder: string, { html, command: [first, ...rest] }: Bundler): string {
  run(folder, first, ...rest);
  const dist = path.join(folder, 'dist');
  if (html !== undefined) writeFileSync(path.join(dist, 'index.html'), html);
  return dist;
}

/** The names of the files of a bundle. */
function filesOf(dist: string): string[] {
  return readdirSync(dist, { recursive: true, encoding: 'utf8' });
}

const nodeCode = /\bnode:|\brequire\(|\bprocess\.|\b__dirname\b|\bBuffer\b/;

describe('@norikv/client', () => {
  testInPage.each(bundlers)(
    'bundled by $name needs nothing beside the bundle, and has no code of Node',
    async (bundler) => {
      const dist = bundled(makePage(bundler.name, '@norikv/client'), bundler);
      expect(filesOf(dist).filter((file) => file.endsWith('.wasm'))).toEqual([]);
      for (const file of filesOf(dist).filter((name) => name.endsWith('.js'))) {
        expect(readFileSync(path.join(dist, file), 'utf8')).not.toMatch(nodeCode);
      }
      expect(await outputOfFolder(dist)).toBe(USED);
    },
    slow,
  );

  testInPage(
    "is used from Vite's development server",
    async () => {
      const folder = makePage('vite-dev', '@norikv/client');
      expect(await outputOfVite(folder)).toBe(USED);
    },
    slow,
  );
});

describe('@norikv/client/recipes', () => {
  testInPage.each(bundlers)(
    'bundled by $name count in a page, with the client of the bundle',
    async (bundler) => {
      const counting = `
        import { NoriKVClient } from '@norikv/client';
        import { DistributedCounter } from '@norikv/client/recipes';

        async function main() {
          const client = await NoriKVClient.open(new URLSearchParams(location.search).get('server'));
          const counter = new DistributedCounter(client, '${bundler.name}');
          await Promise.all([counter.increment(), counter.increment()]);
          const count = await counter.get();
          await client.close();
          return 'counted ' + count;
        }
        main().catch((error) => error.stack).then((text) => {
          const output = document.createElement('output');
          output.textContent = text;
          document.body.append(output);
        });
      `;
      const files = { 'index.html': asModule, 'main.js': counting };
      const folder = makeProject({ name: `${bundler.name}-recipes`, type: 'module', files });
      expect(await outputOfFolder(bundled(folder, bundler))).toBe('counted 2');
    },
    slow,
  );
});

describe('@norikv/client/web-file', () => {
  const knowing = bundlers.filter(({ name }) => ['vite', 'webpack'].includes(name));
  testInPage.each(knowing)(
    'bundled by $name finds its wasm, a file of the bundle',
    async (bundler) => {
      const dist = bundled(makePage(`${bundler.name}-file`, '@norikv/client/web-file'), bundler);
      expect(filesOf(dist).filter((file) => file.endsWith('.wasm'))).toHaveLength(1);
      expect(await outputOfFolder(dist)).toBe(USED);
    },
    slow,
  );
});

describe('files served as they are', () => {
  testInPage.each(['norikv.js', 'inline.js'])(
    '%s is imported by a script of the page',
    async (file) => {
      const folder = makePage(file, `./norikv/${file}`);
      cpSync(path.join(folder, built), path.join(folder, 'norikv'), { recursive: true });
      expect(await outputOfFolder(folder)).toBe(USED);
    },
    slow,
  );
});

describe('@norikv/client/web where there is no page', () => {
  test(
    'has the names of the client in Node, no more and no fewer',
    () => {
      const names = (specifier: string) => `Object.keys(require('${specifier}')).sort().join()`;
      const main = ['@norikv/client', '@norikv/client/web'].map(names).join(' === ');
      const folder = makeProject({ name: 'names', type: 'commonjs', files: {} });
      expect(run(folder, process.execPath, '-p', main)).toBe('true\n');
    },
    slow,
  );

  const main = (load: string): string => `
    ${load}
    use(norikv, (globalThis.Deno?.args ?? process.argv).at(-1)).then(console.log);
  `;

  test.each([
    {
      name: 'Node’s import',
      type: 'module',
      load: "import * as norikv from '@norikv/client/web';\nimport { use } from './use.js';",
      used: use,
    },
    {
      name: 'Node’s require',
      type: 'commonjs',
      load: "const norikv = require('@norikv/client/web');\nconst { use } = require('./use.js');",
      used: use.replace(
        'export async function use',
        'module.exports = { use }; async function use',
      ),
    },
  ] as const)(
    'by $name, without an addon',
    ({ type, load, used }) => {
      const folder = makeProject({
        name: `node-${type}`,
        type,
        files: { 'main.js': main(load), 'use.js': used },
      });
      const scope = path.join(folder, 'node_modules', '@norikv');
      for (const name of readdirSync(scope).filter((each) => each !== 'client')) {
        rmSync(path.join(scope, name), { recursive: true });
      }
      expect(run(folder, process.execPath, 'main.js', storeAddress())).toBe(`${USED}\n`);
    },
    slow,
  );

  test.each(['@norikv/client', '@norikv/client/web'])(
    'by Deno, as %s',
    (specifier) => {
      const load = `
        import * as norikv from '${specifier}';
        import { use } from './use.js';
      `;
      const folder = makeProject({
        name: `deno-${specifier.split('/').length}`,
        type: 'module',
        files: { 'main.js': main(load), 'use.js': use },
      });
      const allowed = ['--allow-net=127.0.0.1', '--no-remote', '--node-modules-dir=manual'];
      const address = storeAddress();
      expect(run(folder, tool('deno'), 'run', ...allowed, 'main.js', address)).toBe(`${USED}\n`);
    },
    slow,
  );
});
