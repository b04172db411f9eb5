// Search, recommendations and duplicates: what people do with them. See `uses.cjs`.
const recipes = require('@norikv/client/recipes');

/** A stand-in for a model: it counts letters. */
const model = {
  dimensions: 26,
  embed: (text) =>
    Promise.resolve(
      Array.from({ length: 26 }, (_, at) => text.split(String.fromCharCode(97 + at)).length - 1),
    ),
};

module.exports = {
  SemanticSearchEngine: {
    async use({ client }) {
      const engine = new recipes.SemanticSearchEngine(client, model);
      await engine.initialize();
      await engine.indexDocument('a', 'Zoo', 'zebras and lizards');
      await engine.search('lizard', 1);
      await engine.deleteDocument('a');
    },
    async abort({ client, aborted }) {
      const engine = new recipes.SemanticSearchEngine(client, model);
      await aborted((signal) => engine.initialize({ signal }), 0);
      await aborted((signal) => engine.indexDocument('a', 'Zoo', 'zebras', { signal }), 0);
      await aborted((signal) => engine.search('lizard', 1, { signal }), 0);
      await engine.indexDocument('a', 'Zoo', 'zebras');
      await aborted((signal) => engine.deleteDocument('a', { signal }), 0);
      await engine.deleteDocument('a');
    },
  },
  RecommendationEngine: {
    // What a user looked at.
    keys: 1,
    async use({ client }) {
      const engine = new recipes.RecommendationEngine(client, model);
      await engine.initialize();
      await engine.indexProduct('a', 'Lamp', 'a lamp', 'light');
      await engine.indexProduct('b', 'Bulb', 'a bulb', 'light');
      await engine.recordInteraction('ada', 'a');
      await engine.getRecommendations('ada', 1);
      await engine.getSimilarProducts('a', 1);
      await engine.deleteProduct('a');
      await engine.deleteProduct('b');
    },
    async abort({ client, aborted }) {
      const engine = new recipes.RecommendationEngine(client, model);
      await engine.indexProduct('a', 'Lamp', 'a lamp', 'light');
      await aborted((signal) => engine.recordInteraction('ada', 'a', { signal }), 0);
      await aborted((signal) => engine.getSimilarProducts('a', 1, { signal }), 0);
      await engine.deleteProduct('a');
    },
  },
  DocumentDeduplicator: {
    // Guards the index: one key for all documents.
    keys: 1,
    async use({ client }) {
      const documents = new recipes.DocumentDeduplicator(client, model, 0.95);
      await documents.initialize();
      await documents.checkAndStore('a', 'the quick brown fox');
      await documents.checkAndStore('b', 'the quick brown fox');
      await documents.removeDocument('a');
      await documents.removeDocument('b');
    },
    async abort({ client, aborted }) {
      const documents = new recipes.DocumentDeduplicator(client, model, 0.95);
      await aborted((signal) => documents.initialize({ signal }), 0);
      await aborted((signal) => documents.checkAndStore('a', 'the quick brown fox', { signal }), 0);
      await aborted((signal) => documents.removeDocument('a', { signal }), 0);
      await documents.checkAndStore('a', 'the quick brown fox');
      await documents.removeDocument('a');
    },
  },
};
