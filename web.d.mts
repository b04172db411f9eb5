// The build without an addon has the same names: those of stores that it cannot have refuse, with UnsupportedError.
export * from './index.js';
