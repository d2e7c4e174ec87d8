// Makes a release and proves it: builds the platform package, packs komt with it as an optional
// dependency, checks both, publishes them to a registry on loopback and installs them from there as a
// stranger would.
//
//   node tools/release.mjs                 that, and nothing leaves this machine
//   node tools/release.mjs --publish       then publishes to the registry that npm is configured with
//   --tag TAG    npm's dist-tag (default: latest)
//   --otp CODE   npm's one-time password
//
// KOMT_CUDA_ARCHS=90a-real builds for one architecture: faster, and never published. Ends with
// 'N passed, N failed'. docs/releasing.md has the rest.
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { attempt, call, readManifest, root } from './release/call.mjs';
import { installChecks } from './release/install-proof.mjs';
import { PLATFORM_PACKAGES, packageChecks, packMain, packPlatform } from './release/packages.mjs';
import { startRegistry } from './release/registry.mjs';

const { values: flags } = parseArgs({
  options: {
    publish: { type: 'boolean', default: false },
    tag: { type: 'string', default: 'latest' },
    otp: { type: 'string' },
  },
});

/** Runs checks one after another; how many failed. */
async function report(checks, counts) {
  for (const [what, check] of checks) {
    try {
      const seen = await check();
      console.log(`ok    ${what}${seen ? `: ${seen}` : ''}`);
      counts.passed++;
    } catch (error) {
      console.log(`FAIL  ${what}\n${error.message.replace(/^/gm, '      ')}`);
      counts.failed++;
    }
  }
}

/** What must be so before anything is published; all of it can be known before the build. */
async function refuseEarly() {
  const { version } = readManifest();
  const problems = [];
  if ((await call('git', ['status', '--porcelain'])).trim() !== '')
    problems.push('the tree has changes');
  if (process.env.KOMT_CUDA_ARCHS) problems.push('KOMT_CUDA_ARCHS leaves architectures out');
  const commit = async (name) =>
    (await attempt('git', ['rev-parse', '--verify', '--quiet', `${name}^{commit}`])).stdout;
  const tagged = await commit(`v${version}`);
  if (tagged !== (await commit('HEAD'))) {
    problems.push(tagged ? `v${version} is another commit` : `there is no tag v${version}`);
  }
  if (problems.length > 0) throw new Error(`nothing was published: ${problems.join('; ')}`);
}

async function main() {
  if (flags.publish) await refuseEarly();
  const platforms = await packPlatform();
  const main = await packMain();
  const counts = { passed: 0, failed: 0 };
  await report(packageChecks(main, platforms), counts);

  const work = mkdtempSync(path.join(os.tmpdir(), 'komt-release-'));
  const registry = await startRegistry(['komt', ...PLATFORM_PACKAGES]);
  try {
    const { host } = new URL(registry.url);
    const publish = (packed, tag = 'latest') =>
      call('npm', [
        ...['publish', packed, '--registry', registry.url, '--tag', tag, '--ignore-scripts'],
        `--//${host}/:_authToken=loopback`,
      ]);
    for (const tarball of [...platforms, main.released]) await publish(tarball);
    await report(await installChecks(registry, publish, main.plain, work), counts);
  } finally {
    await registry.close();
    rmSync(work, { recursive: true, force: true });
  }

  if (flags.publish && counts.failed === 0) {
    // The platform packages first: komt must never name one that is not there.
    for (const tarball of [...platforms, main.released]) {
      const options = ['--tag', flags.tag, '--access', 'public', '--ignore-scripts'];
      if (flags.otp) options.push('--otp', flags.otp);
      await call('npm', ['publish', tarball, ...options], { stdio: 'inherit' });
      console.log(`published ${path.relative(root, tarball)}`);
    }
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exitCode = counts.failed > 0 ? 1 : 0;
}

await main();
