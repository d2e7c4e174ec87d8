// Builds build/Release/komt_emulated.node: the addon whose CUDA runs on the host (cuda/emulator).
//   node tools/build-emulated.mjs [fast|asan]
import { createRequire } from 'node:module';
import path from 'node:path';
import { build, root } from './cmake.mjs';

const require = createRequire(import.meta.url);
const mode = process.argv[2] ?? 'fast';

const built = build('.', `build/emulated-${mode}`, [
  '-DKOMT_EMULATED=ON',
  `-DKOMT_EMULATOR_MODE=${mode}`,
  `-DCMAKE_JS_INC=${require('node-api-headers').include_dir}`,
  `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.join(root, 'build/Release')}`,
]);
process.exitCode = built ? 0 : 1;
