// Directories that a store must not be opened in, or not now.
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  CorruptionError,
  InvalidArgumentError,
  NoriKVClient,
  ResourceExhaustedError,
  UnsupportedError,
} from '@norikv/client';
import { startServer } from '@norikv/client/server';
import { script, serve, temporary } from './children';

/** What opening a directory fails with. */
async function refusal(directory: string): Promise<unknown> {
  const client = await NoriKVClient.open(`file:${directory}`).catch((error: unknown) => error);
  if (client instanceof NoriKVClient) {
    await client.close();
    throw new Error('the directory was opened');
  }
  return client;
}

/** A directory with a closed store in it. */
async function closedStore(): Promise<string> {
  const directory = temporary();
  await using client = await NoriKVClient.open(`file:${directory}`);
  await client.put('a', '1');
  return directory;
}

/** Every file under a directory, with what is in it. */
function contents(directory: string): Map<string, string> {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  return new Map(
    files.map((file) => {
      const whole = path.join(directory, file);
      return [file, statSync(whole).isDirectory() ? 'a directory' : readFileSync(whole, 'latin1')];
    }),
  );
}

describe('a directory that is open', () => {
  test('in this process is refused until it is closed', async () => {
    const directory = temporary();
    const first = await NoriKVClient.open(`file:${directory}`);
    await first.put('a', '1');
    expect(await refusal(directory)).toBeInstanceOf(ResourceExhaustedError);
    const other = `${directory}${path.sep}..${path.sep}${path.basename(directory)}`;
    expect(await refusal(other)).toBeInstanceOf(ResourceExhaustedError);
    await expect(
      startServer({ store: `file:${directory}`, listen: '127.0.0.1:0' }),
    ).rejects.toBeInstanceOf(ResourceExhaustedError);
    await first.put('b', '2');
    await first.close();
    await using second = await NoriKVClient.open(`file:${directory}`);
    expect(await second.count({})).toBe(2);
  });

  test('in another process is refused until that has ended, however it ended', async () => {
    const directory = temporary();
    const server = await serve(`file:${directory}`);
    await using remote = await NoriKVClient.open(server.address);
    await remote.put('a', '1');
    const error = await refusal(directory);
    expect(error).toBeInstanceOf(ResourceExhaustedError);
    expect(error).toMatchObject({ retryable: true });
    await expect(serve(`file:${directory}`)).rejects.toThrow(/ended with 1: norikv: .*open/);
    await remote.put('b', '2');
    server.kill('SIGKILL');
    await server.ended;
    await using client = await NoriKVClient.open(`file:${directory}`);
    expect(await client.count({})).toBe(2);
  });

  test('by many at once goes to one of them', async () => {
    const directory = temporary();
    const opening = Array.from({ length: 8 }, () => NoriKVClient.open(`file:${directory}`));
    const outcomes = await Promise.allSettled(opening);
    const opened = outcomes.flatMap((outcome) =>
      outcome.status === 'fulfilled' ? [outcome.value] : [],
    );
    expect(opened).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected')
        expect(outcome.reason).toBeInstanceOf(ResourceExhaustedError);
    }
    await opened[0]?.close();
  });

  test('a client that was refused connects once the directory is free', async () => {
    const directory = temporary();
    const first = await NoriKVClient.open(`file:${directory}`);
    const second = new NoriKVClient(`file:${directory}`);
    await expect(second.connect()).rejects.toBeInstanceOf(ResourceExhaustedError);
    await expect(second.put('a', '1')).rejects.toBeInstanceOf(ResourceExhaustedError);
    await first.close();
    await second.put('a', '1');
    await second.close();
  });
});

test('a store of a newer format is an UnsupportedError, and left as it is', async () => {
  const directory = await closedStore();
  const format = path.join(directory, 'norikv.format');
  const text = readFileSync(format, 'utf8');
  writeFileSync(format, text.replace(/format \d+/, 'format 999'));
  const before = contents(directory);
  const error = await refusal(directory);
  expect(error).toBeInstanceOf(UnsupportedError);
  expect((error as Error).message).toContain('999');
  expect(contents(directory)).toEqual(before);
  writeFileSync(format, text);
  await using client = await NoriKVClient.open(`file:${directory}`);
  expect((await client.get('a')).text()).toBe('1');
});

test('a note of the format that says nothing is a CorruptionError', async () => {
  const directory = await closedStore();
  writeFileSync(path.join(directory, 'norikv.format'), 'what?');
  expect(await refusal(directory)).toBeInstanceOf(CorruptionError);
});

describe('what is not a store’s is refused and left as it is', () => {
  test('a directory with other files', async () => {
    const directory = temporary();
    writeFileSync(path.join(directory, 'letter.txt'), 'Dear …');
    mkdirSync(path.join(directory, 'photos'));
    const before = contents(directory);
    const error = await refusal(directory);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect((error as Error).message).toContain(directory);
    expect(contents(directory)).toEqual(before);
  });

  test('a file', async () => {
    const file = path.join(temporary(), 'file');
    writeFileSync(file, 'x');
    expect(await refusal(file)).toBeInstanceOf(InvalidArgumentError);
    expect(await refusal(path.join(file, 'below'))).toBeInstanceOf(InvalidArgumentError);
    expect(readFileSync(file, 'utf8')).toBe('x');
  });
});

test('a directory that is missing is made, with those above it', async () => {
  const directory = path.join(temporary(), 'a', 'b');
  {
    await using client = await NoriKVClient.open(`file:${directory}`);
    await client.put('a', '1');
  }
  await using again = await NoriKVClient.open(`file:${directory}`);
  expect((await again.get('a')).text()).toBe('1');
  await again.close();
  rmSync(directory, { recursive: true });
});

test('a relative path is one from where the process is', async () => {
  const directory = temporary();
  const ran = await script(
    `process.chdir(args.directory);
     const client = await NoriKVClient.open('file:./here');
     await client.put('a', '1');
     await client.close();`,
    { directory },
  );
  expect(ran).toMatchObject({ code: 0, complaint: '' });
  expect(readdirSync(directory)).toEqual(['here']);
});
