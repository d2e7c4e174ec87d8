/** The library as its users get it: the built dist/. */
export * from '../../dist/index.js';
