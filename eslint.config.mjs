import { existsSync } from 'node:fs';
import path from 'node:path';
import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

const nodeGlobals = [
  'AbortController',
  'AbortSignal',
  'Buffer',
  'TextDecoder',
  'TextEncoder',
  'URL',
  'clearInterval',
  'clearTimeout',
  'console',
  'fetch',
  'performance',
  'process',
  'setImmediate',
  'setInterval',
  'setTimeout',
  'structuredClone',
];

const noDefaultExport = {
  selector: 'ExportDefaultDeclaration',
  message: 'Export by name: a name means the same thing everywhere.',
};
const noEnum = {
  selector: 'TSEnumDeclaration',
  message: 'Use a const object and a union of its values.',
};

/** What is made for browsers; its types are known only once `npm run build:web` has made them. */
const web = [
  'src/*.web.ts',
  'src/entry.inline.ts',
  'src/inlined.ts',
  'src/web.ts',
  '__test__/types/*.web.ts',
];
const webIsBuilt = existsSync(path.join(import.meta.dirname, 'src', 'web', 'norikv.d.ts'));

export default defineConfig(
  globalIgnores(['dist/', 'target/', 'data/', 'coverage/', 'docs/', 'benches/out/', 'src/web/']),
  ...(webIsBuilt ? [] : [globalIgnores(web)]),
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  {
    files: ['**/*.{js,cjs,mjs}'],
    languageOptions: {
      globals: Object.fromEntries(nodeGlobals.map((name) => [name, 'readonly'])),
    },
    rules: {
      'no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
    },
  },
  {
    // What runs in a page, or is handed to one.
    files: ['benches/pages/**', 'benches/lib/browser.mjs', 'crates/**'],
    languageOptions: {
      globals: Object.fromEntries(
        ['URLSearchParams', 'crypto', 'WebAssembly', 'WebSocket', 'location'].map((name) => [
          name,
          'readonly',
        ]),
      ),
    },
  },
  {
    files: ['**/*.{js,cjs}'],
    // That of a crate is a module of the page.
    ignores: ['crates/**'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: { require: 'readonly', module: 'writable', __dirname: 'readonly' },
    },
  },
  {
    files: ['**/*.{ts,mts}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: {
        projectService: true,
      },
    },
    rules: {
      'no-restricted-syntax': ['error', noDefaultExport, noEnum],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
    },
  },
  {
    files: web,
    languageOptions: {
      parserOptions: { projectService: false, project: './tsconfig.web.json' },
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      // A method is named, not called, where an error's stack is cut off below it.
      '@typescript-eslint/unbound-method': 'off',
      // The declared classes are those of src/; the type tests check that they are the same.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
    },
  },
  {
    files: ['**/*.d.ts', 'src/entry.ts'],
    rules: {
      // `json<T>()` is a cast that the caller asks for by name.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
    },
  },
  {
    files: ['__test__/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['__test__/types/**/*.ts'],
    rules: {
      // Here `void x` says that only the type of x is of interest.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
    },
  },
);
