// The recipes of the packed tarball, installed into empty projects: in each kind of module, and in bundles, which have what
// they use and nothing else.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { makeProject, root, run, slow } from './project';

const names = '{ DistributedCounter }';
const use = `
async function main() {
  const client = await NoriKVClient.open('memory:');
  const counter = new DistributedCounter(client, 'visits');
  await counter.increment();
  console.log('counted', await counter.get());
  await client.close();
}
main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
`;
const importing = `
import { NoriKVClient } from '@norikv/client';
import ${names} from '@norikv/client/recipes';
`;
const requiring = `
const { NoriKVClient } = require('@norikv/client');
const ${names} = require('@norikv/client/recipes');
`;
const COUNTED = 'counted 1\n';

describe('loaded by Node', () => {
  test.each([
    { type: 'module', load: importing },
    { type: 'commonjs', load: requiring },
  ] as const)(
    'as a $type',
    ({ type, load }) => {
      const files = { 'index.js': load + use };
      const folder = makeProject({ name: `recipes-${type}`, type, files });
      expect(run(folder, process.execPath, 'index.js')).toBe(COUNTED);
    },
    slow,
  );

  test(
    'by those who ask for them only',
    () => {
      const loaded = `
        const { createRequire } = require('node:module');
        const recipes = () => Object.keys(require.cache).filter((file) => /recipes/.test(file)).length;
        require('@norikv/client');
        const before = recipes();
        require('@norikv/client/recipes');
        console.log(before, recipes() > 0);
      `;
      const folder = makeProject({ name: 'only', type: 'commonjs', files: { 'index.js': loaded } });
      expect(run(folder, process.execPath, 'index.js')).toBe('0 true\n');
    },
    slow,
  );
});

describe('in a bundle', () => {
  const tool = (name: string): string => path.join(root, 'node_modules', '.bin', name);
  const esbuild = `
    const client = ({ onResolve }) => onResolve({ filter: /^@norikv.client$/ }, ({ path }) => ({ path, external: true }));
    const settings = { bundle: true, platform: 'node', format: 'esm', outfile: 'dist/main.js' };
    require(process.argv[1]).build({ ...settings, entryPoints: ['main.js'], plugins: [{ name: 'client', setup: client }] });
  `;
  const webpack = `
    const settings = { mode: 'production', target: 'node', externals: { '@norikv/client': 'commonjs @norikv/client' } };
    require(process.argv[1])({ ...settings, entry: './main.js' }, (error, stats) => {
      if (error || stats.hasErrors()) throw error ?? new Error(stats.toString());
    });
  `;
  const bundlers = [
    {
      name: 'esbuild',
      command: [process.execPath, '-e', esbuild, path.join(root, 'node_modules', 'esbuild')],
    },
    {
      name: 'rollup',
      command: [
        ...[
          tool('rollup'),
          'main.js',
          '-d',
          'dist',
          '-f',
          'es',
          '-p',
          '@rollup/plugin-node-resolve',
        ],
        ...['--external', '@norikv/client'],
      ],
    },
    {
      name: 'webpack',
      command: [process.execPath, '-e', webpack, path.join(root, 'node_modules', 'webpack')],
    },
  ];

  /** What no bundler changes: the texts of a file, long enough not to stand in another by chance. */
  function texts(file: string): string[] {
    const source = readFileSync(file, 'utf8').replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');
    return [...source.matchAll(/'([a-z][^'\\\n]{15,})'|`([a-z][^`$\\\n]{15,})/g)]
      .map(([, quoted, template]) => quoted ?? template ?? '')
      .filter((text) => text.includes(' '));
  }

  test.each(bundlers)(
    'by $name, one recipe brings no other along, and all of them are there',
    ({ name, command: [program = '', ...args] }) => {
      const files = {
        'one.js': importing + use,
        'all.js': `export * from '@norikv/client/recipes';\nimport * as all from '@norikv/client/recipes';\nconsole.log(all);\n`,
      };
      const folder = makeProject({ name: `recipes-${name}`, type: 'module', files });
      const bundle = (entry: string): string => {
        writeFileSync(path.join(folder, 'main.js'), readFileSync(path.join(folder, entry)));
        run(folder, program, ...args);
        return readFileSync(path.join(folder, 'dist', 'main.js'), 'utf8');
      };
      const [one, all] = [bundle('one.js'), bundle('all.js')];
      const recipes = path.join(
        folder,
        'node_modules',
        '@norikv',
        'client',
        'dist',
        'recipes',
        'esm',
      );
      const shared = texts(path.join(recipes, 'distributedCounter.mjs'));
      const others = readdirSync(recipes)
        .filter((file) =>
          /^(semanticSearch|recommend|document|distributedLock|inventory)\w*\.mjs$/.test(file),
        )
        .map((file) => ({ file, texts: texts(path.join(recipes, file)) }));
      expect(others.length).toBeGreaterThan(0);
      for (const { file, texts: own } of others) {
        expect({ file, texts: own.length }).not.toEqual({ file, texts: 0 });
        for (const text of own.filter((each) => !shared.includes(each))) {
          const found = { file, text, inOne: one.includes(text), inAll: all.includes(text) };
          expect(found).toEqual({ file, text, inOne: false, inAll: true });
        }
      }
    },
    slow,
  );
});
