// The compiler, as a project of a user has it.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { root, run } from './project';

/** Compiles the `index.ts` of a project to `out/`; fails with what the compiler says. */
export function compile(folder: string, options: Readonly<Record<string, unknown>>): void {
  const tsconfig = {
    compilerOptions: {
      target: 'es2022',
      strict: true,
      rootDir: '.',
      outDir: 'out',
      types: ['node'],
      typeRoots: [path.join(root, 'node_modules', '@types')],
      ...options,
    },
    files: ['index.ts'],
  };
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  try {
    run(folder, process.execPath, tsc, '-p', '.');
  } catch (error) {
    throw new Error((error as { stdout: string }).stdout, { cause: error });
  }
}
