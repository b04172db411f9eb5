// Near-duplicates. The model is a hashed bag of words (lib/words.ts), which is the same in every run and knows no meaning: put a
// real one in its place.
import { DocumentDeduplicator } from '@norikv/client/recipes';
import type { DeduplicationResult } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';
import { words } from '../lib/words.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

function show(id: string, result: DeduplicationResult): void {
  const { isDuplicate, duplicateOf, similarity } = result;
  console.log(
    isDuplicate
      ? `${id} is like ${duplicateOf ?? ''}: ${similarity.toFixed(2)}`
      : `${id} is stored`,
  );
}

const fox = 'The quick brown fox jumps over the lazy dog.';
const sameFox = 'The quick brown fox jumps over the very lazy dog.';
const learning = 'Machine learning is transforming industries.';

await using client = await openClient();
const part = client.namespace('example-dedup/');
const dedup = new DocumentDeduplicator(part, words, 0.8);
await dedup.initialize();

const first = await dedup.checkAndStore('doc1', fox);
show('doc1', first);
const second = await dedup.checkAndStore('doc2', sameFox);
show('doc2', second);
const third = await dedup.checkAndStore('doc3', learning);
show('doc3', third);
check(!first.isDuplicate && second.duplicateOf === 'doc1' && !third.isDuplicate, 'doc2 is told');

const again = await dedup.checkAndStore('doc1', fox);
show('doc1 again', again);
check(!again.isDuplicate, 'a document is not its own duplicate');

// The same text from two sides at once: one of them is told.
const other = new DocumentDeduplicator(part, words, 0.8);
const both = await Promise.all([
  dedup.checkAndStore('doc4', 'Tea grows on hills.'),
  other.checkAndStore('doc5', 'Tea grows on hills.'),
]);
both.forEach((result, at) => {
  show(`doc${4 + at}`, result);
});
check(both.filter(({ isDuplicate }) => isDuplicate).length === 1, 'exactly one is told');

await dedup.removeDocument('doc1');
const free = await dedup.checkAndStore('doc2', sameFox);
show('doc2, now that doc1 is removed', free);
check(!free.isDuplicate, 'nothing is like it any more');

await part.vectorDropIndex('doc_fingerprints');
await part.deleteRange({ prefix: '' });
console.log('done');
