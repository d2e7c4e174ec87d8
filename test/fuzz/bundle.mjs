import { readFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

const root = path.resolve(import.meta.dirname, '../..');

/**
 * Bundles a target with the library's sources and the loop that runs it.
 *
 * @param source the target's file
 * @param file where the bundle goes: one level below the repository, like dist/, for the library finds
 *   its root from there
 * @param planted an edit of one source: { file, find, replace }
 * @returns the target, the bundle's file, and its source map
 */
export async function bundle(source, file, planted) {
  let edited = false;
  await build({
    stdin: {
      contents: `export { target } from ${JSON.stringify(source)};
        export { work } from ${JSON.stringify(path.join(root, 'test/fuzz/child.ts'))};`,
      resolveDir: root,
      loader: 'ts',
    },
    outfile: file,
    bundle: true,
    // What no target calls counts as not covered.
    treeShaking: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    sourcemap: 'linked',
    logLevel: 'error',
    plugins: planted && [
      {
        name: 'planted',
        setup({ onLoad }) {
          onLoad({ filter: /\.ts$/ }, ({ path: name }) => {
            if (path.relative(root, name) !== planted.file) return undefined;
            const parts = readFileSync(name, 'utf8').split(planted.find);
            if (parts.length !== 2) {
              throw new Error(
                `The planted bug's place stands ${parts.length - 1} times in ${planted.file}: ${planted.find}`,
              );
            }
            edited = true;
            return { contents: parts.join(planted.replace), loader: 'ts' };
          });
        },
      },
    ],
  });
  if (planted && !edited) throw new Error(`${planted.file} is not part of the target`);
  const { target } = await import(`${file}?${Math.random()}`);
  return { target, file, map: JSON.parse(readFileSync(`${file}.map`, 'utf8')) };
}
