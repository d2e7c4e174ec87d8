import { defineConfig } from 'tsup';

export default defineConfig([
  {
    entry: { index: 'lib/index.ts', kernels: 'lib/kernels/index.ts' },
    format: ['esm', 'cjs'],
    dts: { compilerOptions: { ignoreDeprecations: '6.0' } },
    target: 'node20',
    platform: 'node',
    sourcemap: true,
    clean: true,
    // Instead of tsup's shims, which run at once and fail where a bundler makes a module of CommonJS.
    esbuildOptions: (options, { format }) => {
      if (format === 'cjs') options.define = { ...options.define, 'import.meta.url': '__filename' };
    },
  },
  {
    // The command line is a user of the package: it imports `komt` as everybody does.
    entry: { cli: 'lib/cli/main.ts' },
    format: ['esm'],
    external: ['komt'],
    target: 'node20',
    platform: 'node',
    sourcemap: true,
    banner: { js: '#!/usr/bin/env node' },
  },
]);
