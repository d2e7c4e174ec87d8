import { execFileSync } from 'node:child_process';
import type { BuildInfo, DeviceInfo } from 'komt';
import { loadFirst, type Tried } from '../native/addon-files.mjs';
import {
  type BuildRecord,
  fallbackReason,
  readBuildRecord,
  recordDescribes,
} from '../native/build-record.js';
import { loadRemedies } from '../native/load-remedies.js';
import { PACKAGE_ROOT, packageVersion } from './package.js';

/** What `komt inspect --json` prints. */
export interface Installation {
  /** Version of the package. */
  komt: string;
  /** Its folder. */
  root: string;
  node: string;
  platform: string;
  /** Version of the C library, or null where it is another (musl, macOS, Windows). */
  glibc: string | null;
  /** What was loaded; null where nothing could be. */
  addon: (BuildInfo & { file: string; source: string }) | null;
  /** Every place that was tried, best first, each with why it was not taken. */
  tried: Tried[];
  devices: DeviceInfo[];
  /** Version of the NVIDIA driver and the GPUs it knows; null where there is none. */
  driver: { version: string; gpus: string[] } | null;
  /** False where the install script has left no trace: npm holds it back. */
  installScriptRan: boolean;
  /** What the last build here wrote; null where there was none. */
  build: BuildRecord | null;
  /** False where the addon is not the one that the record is about. */
  buildIsOfAddon: boolean;
  /** What failed before the addon was built in another way; null where nothing did. */
  fallback: string | null;
  /** What to do, where nothing loads. */
  remedies: string[];
}

function glibcVersion(): string | null {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  report.excludeNetwork = true;
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime ?? null;
}

function nvidiaDriver(): Installation['driver'] {
  try {
    const text = execFileSync(
      'nvidia-smi',
      ['--query-gpu=driver_version,name,compute_cap', '--format=csv,noheader'],
      { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const rows = text
      .trim()
      .split('\n')
      .map((line) => line.split(', '));
    const version = rows[0]?.[0];
    if (!version) return null;
    return { version, gpus: rows.map(([, name, capability]) => `${name} (${capability})`) };
  } catch {
    return null;
  }
}

/** Looks at the installation in `root` without needing any of it to work. */
export function inspectInstallation(root: string = PACKAGE_ROOT): Installation {
  const { addon, file, source, tried } = loadFirst(root);
  const record = readBuildRecord(root);
  const buildIsOfAddon =
    record !== undefined && file !== undefined && recordDescribes(record, file);
  // A record of some other addon says nothing about this one, unless it is of a build that failed since.
  const tells = record !== undefined && (!record.ok || addon === null || buildIsOfAddon);
  return {
    komt: packageVersion(),
    root,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    glibc: glibcVersion(),
    addon: addon && file && source ? { ...addon.buildInfo(), file, source } : null,
    tried,
    devices: addon?.devices() ?? [],
    driver: nvidiaDriver(),
    installScriptRan: record !== undefined,
    build: record ?? null,
    buildIsOfAddon,
    fallback: tells ? (fallbackReason(record) ?? null) : null,
    remedies: addon ? [] : loadRemedies(tried, record),
  };
}
