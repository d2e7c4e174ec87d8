// Builds build/Release/komt_emulated.node: the addon whose CUDA runs on the host (cuda/emulator).
//   node tools/build-emulated.mjs [fast|asan]
import { addonOptions, build } from './cmake.mjs';

const mode = process.argv[2] ?? 'fast';

const { ok } = await build('.', `build/emulated-${mode}`, [
  '-DKOMT_EMULATED=ON',
  `-DKOMT_EMULATOR_MODE=${mode}`,
  ...addonOptions(),
]);
process.exitCode = ok ? 0 : 1;
