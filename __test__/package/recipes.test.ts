// The recipes of the packed tarball, installed into empty projects, in each kind of module.
import { describe, expect, test } from '@jest/globals';
import { makeProject, run, slow } from './project';

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
    'as the same classes by import and by require',
    () => {
      const both = `
        import('@norikv/client/recipes').then((imported) => {
          const required = require('@norikv/client/recipes');
          const names = Object.keys(required);
          console.log(names.length > 20, names.every((name) => imported[name] === required[name]));
        });
      `;
      const folder = makeProject({ name: 'both', type: 'commonjs', files: { 'index.js': both } });
      expect(run(folder, process.execPath, 'index.js')).toBe('true true\n');
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
