import { readFileSync } from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import manifest from '../../package.json' with { type: 'json' };
import { NativeLoadError } from '../errors.js';

/** The package as the code that asks for it finds it; undefined where there is none of this version. */
function resolveFrom(base: string): string | undefined {
  try {
    // By this name, for webpack would replace a call of an imported createRequire by what it finds itself.
    const file = module.createRequire(base).resolve('komt/package.json');
    const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
    return version === manifest.version ? path.dirname(file) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Places to look from, best first. Bundlers leave little of a module's own address: esbuild empties
 * import.meta in CommonJS, webpack writes the build machine's path into it. The working folder is none of
 * them: a program may be started in a stranger's.
 */
function bases(): string[] {
  return [import.meta.url, process.argv[1]].flatMap((base) => {
    if (!base) return [];
    return [base.startsWith('file:') ? base : path.resolve(base, 'index.js')];
  });
}

/**
 * Folder of the installed package, with the addon in it. Code that a bundler has taken out of the package
 * finds it as its own dependency, from where the bundle or the program lies.
 *
 * @throws {NativeLoadError} if no package of the same version is in reach: a bundle was moved without it.
 */
export function packageRoot(): string {
  for (const base of bases()) {
    const root = resolveFrom(base);
    if (root !== undefined) return root;
  }
  throw new NativeLoadError(
    `This code was bundled, and komt ${manifest.version} with its native addon is not installed where the bundle runs`,
    {
      remedy:
        'komt must stay external (esbuild --external:komt; vite ssr.external; webpack externals; ' +
        "next serverExternalPackages: ['komt']) and be installed beside the bundle.",
    },
  );
}
