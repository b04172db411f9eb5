// The same declarations for `import`: both builds are of the same source.
export * from './recipes.js';
