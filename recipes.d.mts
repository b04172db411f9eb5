// The same declarations for `import`: what it hands on is that of `require`, or made of the same source.
export * from './recipes.js';
