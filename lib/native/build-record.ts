import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { BuildInfo } from './addon.js';

/** One way of building that was tried. */
export interface BuildAttempt {
  /** 'CMake and CUDA', 'CMake' or 'node-gyp'. */
  how: string;
  ok: boolean;
  /** What CMakeLists.txt says became of CUDA. */
  note?: string;
  /** Why it failed, in one line. */
  reason?: string;
  /** The last lines of its output, where it failed. */
  log?: string[];
}

/** What the install script did last: build/Release/komt.json, written by tools/build-addon.mjs. */
export interface BuildRecord {
  ok: boolean;
  /** When it began, ISO 8601. */
  built?: string;
  seconds?: number;
  requested?: { KOMT_CUDA: string; KOMT_CUDA_ARCHS: string };
  /** Version of Node that ran it. */
  node?: string;
  /** Version of CMake, where there was one. */
  cmake?: string;
  /** Nothing was built, for this place had an addon that loads. */
  kept?: string;
  attempts: BuildAttempt[];
  /** What came of it. */
  addon?: BuildInfo & { sha256: string };
}

/** The record of the installation in `root`; undefined where no install script has run. */
export function readBuildRecord(root: string): BuildRecord | undefined {
  const file = path.join(root, 'build/Release/komt.json');
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as BuildRecord;
  } catch (error) {
    const reason = `${file} cannot be read: ${(error as Error).message}`;
    return { ok: false, attempts: [{ how: 'build record', ok: false, reason }] };
  }
}

/** Whether the record is about this very file, and not about one that was built since by other means. */
export function recordDescribes(record: BuildRecord, file: string): boolean {
  const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
  return record.addon?.sha256 === hash;
}

/** What failed before something else was built, in one line; undefined where the first way worked. */
export function fallbackReason(record: BuildRecord): string | undefined {
  const failed = record.attempts.filter(({ ok }) => !ok);
  if (failed.length === 0) return undefined;
  return failed.map(({ how, reason }) => `${how}: ${reason}`).join('; ');
}
