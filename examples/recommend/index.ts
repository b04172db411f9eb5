// Recommendations. The model is a hashed bag of words (lib/words.ts), which is the same in every run and knows no meaning: put a
// real one in its place.
import { NotFoundError } from '@norikv/client';
import { RecommendationEngine } from '@norikv/client/recipes';
import type { ProductRecommendation } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';
import { words } from '../lib/words.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

function show(what: string, products: readonly ProductRecommendation[]): void {
  console.log(`${what}:`);
  for (const { score, name, category } of products) {
    console.log(`  ${score.toFixed(2)} ${name} (${category})`);
  }
}

await using client = await openClient();
const part = client.namespace('example-recommend/');
const engine = new RecommendationEngine(part, words);
await engine.initialize();

await engine.indexProduct('run', 'Running shoes', 'light', 'Footwear');
await engine.indexProduct('trail', 'Trail running shoes', 'durable', 'Footwear');
await engine.indexProduct('socks', 'Running socks', 'soft', 'Footwear');
await engine.indexProduct('pot', 'Tea pot', 'made of clay', 'Kitchen');

show('like the running shoes', await engine.getSimilarProducts('run', 2));

// Many interactions at once: each of them counts.
await Promise.all([
  ...Array.from({ length: 9 }, () => engine.recordInteraction('ada', 'run')),
  engine.recordInteraction('ada', 'pot'),
]);
const { count } = (await part.get('recommend/products/user/ada')).json<{ count: number }>();
console.log(`${count} interactions of ada were recorded`);
check(count === 10, 'none is lost');

const all = await engine.getRecommendations('ada', 4);
show('for ada', all);
check(all[0]?.productId === 'run', 'what she looks at most is nearest');
const unseen = await engine.getRecommendations('ada', 2, { excludeSeen: true });
show('for ada, without what she has seen', unseen);
check(
  unseen.every(({ productId }) => !['run', 'pot'].includes(productId)),
  'nothing is known',
);
check((await engine.getRecommendations('bob', 5)).length === 0, 'of bob nothing is known');

const wrong: unknown = await engine
  .recordInteraction('ada', 'none')
  .catch((error: unknown) => error);
console.log('an unknown product:', String(wrong));
check(wrong instanceof NotFoundError, 'it is said');

for (const id of ['run', 'trail', 'socks', 'pot']) await engine.deleteProduct(id);
await part.delete('recommend/products/user/ada');
await part.vectorDropIndex('products');
check((await part.count({ prefix: '' })) === 0, 'nothing is left');
console.log('done');
