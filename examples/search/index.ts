// Semantic search. The model is a hashed bag of words (lib/words.ts), which is the same in every run and knows no meaning: put a
// real one in its place.
import { SemanticSearchEngine } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';
import { words } from '../lib/words.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

await using client = await openClient();
const part = client.namespace('example-search/');
const engine = new SemanticSearchEngine(part, words);
await engine.initialize();

await engine.indexDocument('ml', 'Machine learning', 'a subset of artificial intelligence');
await engine.indexDocument('dl', 'Deep learning', 'neural networks with many layers');
await engine.indexDocument('tea', 'Tea', 'leaves that grow on hills in the rain');

for (const query of ['neural networks', 'artificial intelligence and learning', 'rain on hills']) {
  console.log(`${query}:`);
  for (const { score, title } of await engine.search(query, 2)) {
    console.log(`  ${score.toFixed(2)} ${title}`);
  }
}
const [best] = await engine.search('neural networks', 1);
check(best?.id === 'dl', 'the document with the words is found');

// Two writes of one document at once: what is found is what one of them wrote, document and vector alike.
await Promise.all([
  engine.indexDocument('tea', 'Green tea', 'from Uji'),
  engine.indexDocument('tea', 'Black tea', 'from Assam'),
]);
const [tea] = await engine.search('tea', 1);
console.log(`of two writes at once one stays: ${tea?.title ?? ''} ${tea?.content ?? ''}`);
check(tea?.content === (tea?.title === 'Green tea' ? 'from Uji' : 'from Assam'), 'of one write');

for (const id of ['ml', 'dl', 'tea']) check(await engine.deleteDocument(id), `${id} was there`);
check((await engine.search('tea', 5)).length === 0, 'nothing is found any more');
await part.vectorDropIndex('documents');
check((await part.count({ prefix: '' })) === 0, 'nothing is left');
console.log('done');
