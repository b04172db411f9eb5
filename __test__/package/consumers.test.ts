// The packed tarballs, installed into empty projects without a network, work as a user imports them.
import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { compile } from './compile';
import { makeProject, packed, root, run, slow, work } from './project';

const typescript = `
async function main(): Promise<void> {
  const client = await NoriKVClient.open('memory:');
  const version = await client.put('greeting', 'hello');
  const result = await client.get('greeting');
  if (bytesToString(result.value) !== 'hello') throw new Error('another value');
  const missing = await client.get('missing').catch((error: unknown) => error);
  if (!(missing instanceof KeyNotFoundError)) throw new Error('another error');
  await client.close();
  console.log('works', version.toString());
}
main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
`;
const names = '{ KeyNotFoundError, NoriKVClient, bytesToString }';
const importing = `import ${names} from '@norikv/client';`;
const javascript = typescript.replaceAll(/: (unknown|Promise<void>)/g, '');

test('the client asks for a package of its own version for every platform', () => {
  const folder = path.join(work, 'manifest');
  mkdirSync(folder);
  const client = readdirSync(packed).find((file) => /^norikv-client-\d/.test(file));
  run(folder, 'tar', '-xzf', path.join(packed, client ?? ''));
  const manifest = JSON.parse(
    run(folder, process.execPath, '-p', 'JSON.stringify(require("./package/package.json"))'),
  ) as { version: string; private?: boolean; optionalDependencies: Record<string, string> };
  const platforms = readdirSync(path.join(root, 'npm')).map((name) => `@norikv/client-${name}`);
  expect(manifest.private).toBeUndefined();
  expect(manifest.optionalDependencies).toEqual(
    Object.fromEntries(platforms.map((name) => [name, manifest.version])),
  );
});

describe('JavaScript', () => {
  test(
    'CommonJS',
    () => {
      const requiring = `const ${names} = require('@norikv/client');`;
      const files = { 'index.js': requiring + javascript };
      const folder = makeProject({ name: 'commonjs', type: 'commonjs', files });
      expect(run(folder, process.execPath, 'index.js')).toBe('works 1.2\n');
    },
    slow,
  );

  test(
    'ES modules, and both share every class',
    () => {
      const same = `
        import * as esm from '@norikv/client';
        import { createRequire } from 'node:module';
        const commonjs = createRequire(import.meta.url)('@norikv/client');
        const names = [Object.keys(commonjs), Object.keys(esm)].map((list) => list.sort().join());
        if (names[0] !== names[1]) throw new Error(names.join(' is not '));
        for (const name of Object.keys(commonjs)) {
          if (commonjs[name] !== esm[name]) throw new Error(name + ' is there twice');
        }
        console.log('same');
      `;
      const files = { 'index.js': importing + javascript, 'same.js': same };
      const folder = makeProject({ name: 'esm', type: 'module', files });
      expect(run(folder, process.execPath, 'index.js')).toBe('works 1.2\n');
      expect(run(folder, process.execPath, 'same.js')).toBe('same\n');
    },
    slow,
  );

  test(
    'the command and the server subpath are there',
    () => {
      const files = { 'index.js': "console.log(typeof require('@norikv/client/server'));" };
      const folder = makeProject({ name: 'command', type: 'commonjs', files });
      expect(run(folder, 'npx', '--offline', 'norikv', '--version')).toMatch(/\d+\.\d+\.\d+/);
      expect(run(folder, process.execPath, 'index.js')).toBe('object\n');
    },
    slow,
  );
});

describe('TypeScript', () => {
  const node10 = { module: 'commonjs', moduleResolution: 'node10', ignoreDeprecations: '6.0' };
  test.each([
    { name: 'node16 ES modules', type: 'module', options: { module: 'node16' } },
    { name: 'node16 CommonJS', type: 'commonjs', options: { module: 'node16' } },
    {
      name: 'bundler',
      type: 'module',
      options: { module: 'esnext', moduleResolution: 'bundler' },
    },
    { name: 'node10', type: 'commonjs', options: node10 },
  ] as const)(
    '$name',
    ({ name, type, options }) => {
      const others = ['server', 'web'].map(
        (entry) =>
          `import type * as ${entry} from '@norikv/client/${entry}';\nexport type { ${entry} };\n`,
      );
      const recipes = `
        import { DistributedCounter } from '@norikv/client/recipes';
        export const count = (client: NoriKVClient): Promise<number> => new DistributedCounter(client, 'a').get();
      `;
      const files = { 'index.ts': importing + recipes + others.join('') + typescript };
      const folder = makeProject({ name: name.replaceAll(' ', '-'), type, files });
      compile(folder, options);
      expect(run(folder, process.execPath, path.join('out', 'index.js'))).toBe('works 1.2\n');
    },
    slow,
  );

  test(
    'a page’s program, which knows nothing of Node',
    () => {
      const checks = `
        import { NoriKVClient } from '@norikv/client';
        import type * as server from '@norikv/client/server';
        import * as web from '@norikv/client/web';
        import * as file from '@norikv/client/web-file';

        const same: (typeof NoriKVClient)[] = [web.NoriKVClient, file.NoriKVClient];
        export async function main(signal: AbortSignal): Promise<void> {
          await using client = await NoriKVClient.open(location.host, { signal });
          await client.put('a', new TextEncoder().encode(String(same.length)));
        }
        export type { server };
      `;
      const folder = makeProject({ name: 'page', type: 'module', files: { 'index.ts': checks } });
      compile(folder, {
        module: 'esnext',
        moduleResolution: 'bundler',
        customConditions: ['browser'],
        lib: ['es2023', 'esnext.disposable', 'dom'],
        types: [],
      });
    },
    slow,
  );

  test(
    'what the package does not export is refused',
    () => {
      const files = { 'index.ts': "import client from '@norikv/client';\nvoid client;\n" };
      const folder = makeProject({ name: 'refused', type: 'module', files });
      expect(() => {
        compile(folder, { module: 'node16' });
      }).toThrow(/has no default export/);
    },
    slow,
  );
});
