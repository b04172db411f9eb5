// The declarations of the recipes are made from src/recipes/ by `npm run build:ts`.
export * from './dist/recipes/index.js';
