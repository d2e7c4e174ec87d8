// Runs on `npm install` and behind `npx komt build`: makes sure that an addon loads, building one
// (build-addon.mjs) where none does, or where it is not what was asked for.
//   --force          build in any case
//   --cuda VALUE     auto (default) | on | off; KOMT_CUDA
//   --archs LIST     CUDA architectures, such as 80-real;90a-real; KOMT_CUDA_ARCHS
// KOMT_SKIP_BUILD=1 does nothing at all. docs/install.md has it all.
import path from 'node:path';
import { parseArgs } from 'node:util';
import { buildAddon, hasRecord, writeRecord } from './build-addon.mjs';
import { probe } from './probe.mjs';
import { root } from './run.mjs';

const CUDA_VALUES = ['AUTO', 'ON', 'OFF'];
/** As CMake's CUDA_ARCHITECTURES takes them: 80, 90a-real, 120f-virtual. */
const ARCHITECTURE = /^\d{2,3}[af]?(-real|-virtual)?$/;

class UsageError extends Error {}

/** What is to be built: options first, then the environment. */
function readRequest() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        force: { type: 'boolean', default: false },
        cuda: { type: 'string', default: process.env.KOMT_CUDA || 'auto' },
        archs: { type: 'string', default: process.env.KOMT_CUDA_ARCHS ?? '' },
      },
    }));
  } catch (error) {
    throw new UsageError(error.message);
  }
  const cuda = values.cuda.toUpperCase();
  if (!CUDA_VALUES.includes(cuda)) {
    throw new UsageError(`KOMT_CUDA (--cuda): expected auto, on or off, found ${values.cuda}`);
  }
  const archs = values.archs.split(/[;,\s]+/).filter(Boolean);
  const wrong = archs.find((arch) => !ARCHITECTURE.test(arch));
  if (wrong !== undefined) {
    throw new UsageError(
      `KOMT_CUDA_ARCHS (--archs): expected architectures such as 80-real;90a-real;90-virtual, found ${wrong}`,
    );
  }
  return { force: values.force, cuda, archs: archs.join(';') };
}

/** Why the addon that loads is not enough; undefined if it is. */
function whyBuild({ force, cuda, archs }, { built, source }) {
  if (!built) return 'none loads';
  if (force) return 'asked to';
  const hasCuda = built.backends.includes('cuda');
  if (cuda === 'ON' && !hasCuda) return 'KOMT_CUDA=ON, and the one here is without';
  // What was compiled elsewhere, a platform package or KOMT_ADDON, is left as it is.
  if (!source.startsWith('build/')) return undefined;
  if (cuda === 'OFF' && hasCuda) return 'KOMT_CUDA=OFF, and the one here has it';
  if (archs !== '' && hasCuda && built.cudaArchitectures !== archs.replaceAll(';', ', ')) {
    return `KOMT_CUDA_ARCHS=${archs}, and the one here is for ${built.cudaArchitectures}`;
  }
  // Who says `npm rebuild` has changed something.
  return process.env.npm_command === 'rebuild' ? 'npm rebuild' : undefined;
}

/** What to do about a build that failed. */
function remedies({ requested }) {
  const compilers = 'a C++20 compiler (g++ 12, clang 14 or MSVC 2022) and CMake 3.22 or newer';
  const list =
    requested.KOMT_CUDA === 'ON'
      ? [
          `install ${compilers}, and a CUDA toolkit of 12.2 or newer that knows the compiler (CUDACXX or CUDA_HOME names the toolkit, CUDAHOSTCXX another compiler), then: npx komt build --cuda on`,
          'without CUDA: npx komt build --cuda off',
        ]
      : [`install ${compilers}, then: npx komt build`];
  list.push('the output above, and its last lines in build/Release/komt.json, say what went wrong');
  return list.map((text, i) => `  ${i + 1}. ${text}`);
}

function report(record) {
  const failed = record.attempts.filter(({ ok }) => !ok);
  const lines = failed.map(({ how, reason }) => `  ${how}: ${reason}`);
  if (!record.ok) {
    console.error(
      ['komt: no addon could be built:', ...lines, 'Remedies:', ...remedies(record)].join('\n'),
    );
    return;
  }
  if (failed.length > 0) {
    const { how } = record.attempts.at(-1);
    const rule = '!'.repeat(78);
    console.error(
      [
        rule,
        `komt: WARNING: fell back to ${how}, ${describe(record.addon)}. What failed:`,
        ...lines,
        'npx komt inspect shows this again; npx komt build tries again;',
        'with KOMT_CUDA=ON (npx komt build --cuda on) a build without CUDA is an error.',
        rule,
      ].join('\n'),
    );
  }
}

function describe({ backends, cudaArchitectures }) {
  return `${backends.join(' + ')}${cudaArchitectures ? ` (CUDA for ${cudaArchitectures})` : ''}`;
}

async function main() {
  if (process.env.KOMT_SKIP_BUILD) {
    console.log('komt: KOMT_SKIP_BUILD is set: nothing is built');
    return;
  }
  const request = readRequest();
  const found = await probe();
  const why = whyBuild(request, found);
  if (why === undefined) {
    console.log(`komt: ${describe(found.built)}, ${path.relative(root, found.file)}`);
    if (!hasRecord()) writeRecord({ ok: true, kept: found.source, attempts: [] });
    return;
  }
  console.log(`komt: an addon is built (${why})`);
  const record = await buildAddon(request);
  report(record);
  if (record.ok) console.log(`komt: ${describe(record.addon)}, build/Release/komt.node`);
  else process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`komt: ${error.message}`);
    process.exitCode = 2;
  } else if (error.path?.startsWith(root)) {
    console.error(
      `komt: ${error.message}. The addon is built inside of ${root}: who builds it must be allowed to write there.`,
    );
    process.exitCode = 1;
  } else {
    throw error;
  }
}
