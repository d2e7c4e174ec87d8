import path from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Examples and the command line import the package by its name.
  resolve: {
    alias: {
      'komt/kernels': path.resolve(import.meta.dirname, 'lib/kernels/index.ts'),
      komt: path.resolve(import.meta.dirname, 'lib/index.ts'),
    },
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/no-litter.ts'],
    testTimeout: 60_000,
    // Models use all cores by themselves.
    maxWorkers: 2,
  },
});
