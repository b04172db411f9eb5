// protoc, the compiler of .proto files, which the crate etcd-client runs when it is built.
import { aptInstall } from './apt.mjs';
import { run } from './exec.mjs';

/** What a build without protoc is told. */
const NEEDS_PROTOC =
  'the build needs protoc and the .proto files that come with it (Debian, Ubuntu: apt-get install protobuf-compiler libprotobuf-dev; macOS: brew install protobuf)';

/** Whether protoc is here, with the files that every .proto file may import. */
async function hasProtoc() {
  const program = process.env.PROTOC ?? 'protoc';
  const compiled = await run(program, [
    ...(process.env.PROTOC_INCLUDE === undefined ? [] : ['-I', process.env.PROTOC_INCLUDE]),
    '--descriptor_set_out=/dev/null',
    'google/protobuf/descriptor.proto',
  ]);
  return compiled.code === 0;
}

/** What installs protoc, as programs to run one after the other; none where it is here or cannot be had. */
export async function protoc() {
  return (await hasProtoc()) ? [] : aptInstall('protobuf-compiler libprotobuf-dev');
}

/** Sees to it that protoc is here. */
export async function needProtoc() {
  for (const [command, ...args] of await protoc()) {
    console.log('protoc is not here; installing it');
    await run(command, args, { inherit: true });
  }
  if (!(await hasProtoc())) throw new Error(NEEDS_PROTOC);
}
