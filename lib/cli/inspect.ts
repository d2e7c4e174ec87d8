import type { Command } from 'commander';
import { AutoConfig } from 'komt';
import { formatBytes } from '../format-bytes.js';
import { type Installation, inspectInstallation } from './installation.js';
import { type ModelNeeds, modelNeeds, showModel } from './model-needs.js';
import { addLoadOptions, type LoadFlags, loadOptions } from './options.js';
import { table } from './table.js';

interface InspectFlags extends LoadFlags {
  json?: boolean;
}

/** How and when the addon came about, as rows of the table. */
function buildRows({ addon, build, buildIsOfAddon }: Installation): [string, string][] {
  if (!build) return [];
  const [last] = build.attempts.slice(-1);
  if (addon && !buildIsOfAddon) {
    return build.ok ? [] : [['last build', `failed, ${build.built}; this addon is older`]];
  }
  const rows: [string, string][] = [];
  if (build.built) {
    const outcome = build.ok ? `with ${last?.how}` : 'failed';
    rows.push([
      'last build',
      `${outcome}, ${build.built}, ${build.seconds} s, Node.js ${build.node}${build.cmake ? `, CMake ${build.cmake}` : ''}`,
    ]);
  }
  if (last?.note) rows.push(['CUDA', last.note]);
  return rows;
}

function showInstallation(installation: Installation): void {
  const { addon, devices, driver, fallback, tried, remedies } = installation;
  table([
    ['komt', `${installation.komt}, ${installation.root}`],
    [
      'Node.js',
      `${installation.node} on ${installation.platform}${installation.glibc ? `, glibc ${installation.glibc}` : ''}`,
    ],
    ['addon', addon ? addon.file : 'none loads'],
    ...(addon
      ? ([
          [
            'built',
            addon.backends.join(', ') +
              (addon.cudaArchitectures ? ` (CUDA for ${addon.cudaArchitectures})` : ''),
          ],
          ['compiler', addon.compiler ?? 'unknown'],
        ] as [string, string][])
      : []),
    ...buildRows(installation),
    [
      'driver',
      driver
        ? `NVIDIA ${driver.version}: ${driver.gpus.join(', ')}`
        : 'no NVIDIA driver (nvidia-smi)',
    ],
    ...devices.map((d): [string, string] => [
      d.name,
      `${d.description}, ${formatBytes(d.memoryFree)} free of ${formatBytes(d.memoryTotal)}, ${d.features.join(' ')}`,
    ]),
  ]);
  if (fallback !== null) {
    console.log(`\nWhat failed: ${fallback}`);
    for (const { how, log } of installation.build?.attempts ?? []) {
      if (log) console.log(`\nLast lines of ${how}:\n${log.map((line) => `  ${line}`).join('\n')}`);
    }
    if (addon) console.log('\nnpx komt build tries again.');
  } else if (addon && !addon.backends.includes('cuda')) {
    console.log(
      '\nNo CUDA backend: npx komt build adds it where the CUDA toolkit (12.2 or newer) is found.',
    );
  }
  if (addon?.backends.includes('cuda') && !devices.some(({ name }) => name.startsWith('cuda'))) {
    const why = driver
      ? `driver ${driver.version} may be older than the CUDA toolkit of the build, or its GPUs older than the architectures`
      : 'there is no NVIDIA driver here';
    console.log(`\nThe CUDA backend is there and has no device: ${why}.`);
  }
  const passedOver = tried.filter(({ reason }) => reason !== undefined);
  if (!addon || passedOver.some(({ source }) => source === 'KOMT_ADDON')) {
    console.log(
      `\nTried:\n${passedOver.map(({ source, file, reason }) => `  ${file ?? source}: ${reason}`).join('\n')}`,
    );
  }
  if (remedies.length > 0) {
    console.log(`\nRemedies:\n${remedies.map((remedy, i) => `  ${i + 1}. ${remedy}`).join('\n')}`);
  }
}

export function addInspectCommand(program: Command): void {
  addLoadOptions(program.command('inspect'))
    .description(
      'Show what was built and why, and the devices; with --model, what the model needs, before anything is loaded',
    )
    .option('--json', 'print the same as JSON')
    .action(async (flags: InspectFlags) => {
      const installation = inspectInstallation();
      // Without an addon there is nothing that the library could run.
      if (!installation.addon) process.exitCode = 1;
      if (!flags.json) showInstallation(installation);
      let needs: ModelNeeds | undefined;
      if (flags.model !== undefined) {
        const { device_map: _, dtype: __, num_threads: ___, ...hub } = loadOptions(flags);
        const config = await AutoConfig.from_pretrained(flags.model, hub);
        needs = modelNeeds(config, installation.devices, flags);
        if (!flags.json) showModel(config, needs, installation.devices);
      }
      if (flags.json) console.log(JSON.stringify({ ...installation, model: needs }, null, 2));
    });
}
