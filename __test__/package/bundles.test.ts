// Bundles of the recipes of the packed tarball have what they use, and nothing else.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { makeProject, root, run, slow } from './project';

const one = `
  import { NoriKVClient } from '@norikv/client';
  import { DistributedCounter } from '@norikv/client/recipes';
  NoriKVClient.open('memory:').then((client) => new DistributedCounter(client, 'visits').increment());
`;
const all = `
  import * as all from '@norikv/client/recipes';
  export * from '@norikv/client/recipes';
  console.log(all);
`;

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
      const files = { 'one.js': one, 'all.js': all };
      const folder = makeProject({ name: `recipes-${name}`, type: 'module', files });
      const bundle = (entry: string): string => {
        writeFileSync(path.join(folder, 'main.js'), readFileSync(path.join(folder, entry)));
        run(folder, program, ...args);
        return readFileSync(path.join(folder, 'dist', 'main.js'), 'utf8');
      };
      const [withOne, withAll] = [bundle('one.js'), bundle('all.js')];
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
          const found = {
            file,
            text,
            inOne: withOne.includes(text),
            inAll: withAll.includes(text),
          };
          expect(found).toEqual({ file, text, inOne: false, inAll: true });
        }
      }
    },
    slow,
  );
});
