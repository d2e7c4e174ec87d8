// Builds the addon in the best way that works here, and writes down what happened:
//   1. CMake, with CUDA where a toolkit is found (KOMT_CUDA=AUTO) or demanded (ON)
//   2. CMake without CUDA, if only that failed
//   3. node-gyp: the CPU backend
// With KOMT_CUDA=ON only the first counts.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addonOptions, build, findCMake, forget } from './cmake.mjs';
import { buildWithNodeGyp } from './node-gyp.mjs';
import { probe } from './probe.mjs';
import { reasonOf, root } from './run.mjs';

const FOLDER = 'build/cmake';
const ADDON = path.join(root, 'build/Release/komt.node');
/** What lib/native/build-record.ts reads. */
const RECORD = path.join(root, 'build/Release/komt.json');
/** Lines of a failed build's output that are kept. */
const KEPT_LINES = 30;

export function writeRecord(record) {
  mkdirSync(path.dirname(RECORD), { recursive: true });
  writeFileSync(RECORD, `${JSON.stringify(record, null, 2)}\n`);
}

/** Whether the install script has been here. */
export function hasRecord() {
  return existsSync(RECORD);
}

async function buildWithCMake(cuda, archs) {
  forget(FOLDER);
  const options = [`-DKOMT_CUDA=${cuda}`, `-DKOMT_CUDA_ARCHS=${archs}`, ...addonOptions()];
  const result = await build('.', FOLDER, options);
  // CMakeLists.txt says what became of CUDA, and why.
  return { ...result, note: /^-- komt: (.*)$/m.exec(result.output)?.[1] };
}

/**
 * @param {{ cuda: 'AUTO' | 'ON' | 'OFF', archs: string }} request archs: CMake's list, '' = by itself
 * @returns the record, which has been written too: `ok`, `attempts` and, if there is one, the addon
 */
export async function buildAddon({ cuda, archs }) {
  const started = Date.now();
  const attempts = [];
  const aside = `${ADDON}.previous`;
  // First of all, for where it is refused nothing else works.
  mkdirSync(path.dirname(ADDON), { recursive: true });
  if (existsSync(ADDON)) renameSync(ADDON, aside);

  /** Runs one way of building; true once its addon loads. */
  const attempt = async (how, start) => {
    // Whichever tool comes now must link anew: both look at times, and not at who made the file.
    rmSync(ADDON, { force: true });
    console.log(`komt: building with ${how}`);
    const result = await start();
    let reason = result.ok ? undefined : reasonOf(result.output);
    if (result.ok) {
      const loaded = await probe(ADDON);
      if (!loaded.built) reason = `it was built, but does not load: ${loaded.reason}`;
    }
    const entry = { how, ok: reason === undefined };
    if (result.note) entry.note = result.note;
    if (reason !== undefined) {
      entry.reason = reason;
      entry.log = result.output.trimEnd().split(/\r?\n/).slice(-KEPT_LINES);
    }
    attempts.push(entry);
    return entry;
  };
  /** One way that cannot even be tried. */
  const impossible = (how, reason) => attempts.push({ how, ok: false, reason });

  const cmake = await findCMake();
  let ok = false;
  if (cmake.problem) {
    impossible('CMake', cmake.problem);
  } else {
    const first = await attempt('CMake', () => buildWithCMake(cuda, archs));
    ok = first.ok;
    const withCuda = first.note?.startsWith('CUDA with');
    if (withCuda || cuda === 'ON') first.how = 'CMake and CUDA';
    if (!ok && withCuda && cuda === 'AUTO') {
      ok = (await attempt('CMake', () => buildWithCMake('OFF', ''))).ok;
    }
  }
  if (!ok && cuda !== 'ON') ok = (await attempt('node-gyp', buildWithNodeGyp)).ok;

  const record = {
    ok,
    built: new Date(started).toISOString(),
    seconds: Math.round((Date.now() - started) / 1000),
    requested: { KOMT_CUDA: cuda, KOMT_CUDA_ARCHS: archs },
    node: process.version,
    ...(cmake.version && { cmake: cmake.version }),
    attempts,
  };
  if (ok) {
    const { built } = await probe(ADDON);
    record.addon = {
      sha256: createHash('sha256').update(readFileSync(ADDON)).digest('hex'),
      ...built,
    };
    rmSync(aside, { force: true });
  } else {
    rmSync(ADDON, { force: true });
    if (existsSync(aside)) renameSync(aside, ADDON);
  }
  writeRecord(record);
  return record;
}
