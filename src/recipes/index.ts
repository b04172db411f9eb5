/**
 * Recipes: what people build on a key-value store and otherwise get wrong, each in a file of its own and on the public API of
 * the client only, so that it runs on every store, in Node and in browsers.
 *
 * @packageDocumentation
 */

export {};
