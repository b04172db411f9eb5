// The same declarations for `import`: the ESM build hands on the objects of the CommonJS build.
export * from './server.js';
