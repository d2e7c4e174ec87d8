import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { temporaryFolder } from '../temporary-folder.js';

const root = path.resolve(import.meta.dirname, '../..');

const BODY = `
async function main() {
  try {
    const folder = ${JSON.stringify(path.join(root, 'models/komt-tiny'))};
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const model = await AutoModelForCausalLM.from_pretrained(folder, { device_map: 'cpu' });
    const inputs = tokenizer('한국의 수도는', { return_tensors: 'pt' });
    const output = await model.generate({ ...inputs, max_new_tokens: 4, do_sample: false });
    await model.dispose();
    console.log(JSON.stringify({ text: tokenizer.batch_decode(output)[0] }));
  } catch (error) {
    const typed = error instanceof KomtError;
    console.log(JSON.stringify({ name: error.name, message: error.message, typed }));
  }
}
main();
`;

/** Sources of a small program that generates, by the way in which it gets the package. */
export const SOURCES = {
  import: `import { AutoModelForCausalLM, AutoTokenizer, KomtError } from 'komt';${BODY}`,
  require: `const { AutoModelForCausalLM, AutoTokenizer, KomtError } = require('komt');${BODY}`,
};

/** What the program prints. */
export interface Printed {
  text?: string;
  name?: string;
  message?: string;
  typed?: boolean;
}

/** A project with the program in it, and `komt` among its dependencies as npm would install it. */
export function project(kind: keyof typeof SOURCES): { folder: string; entry: string } {
  const { path: folder, write } = temporaryFolder();
  write('package.json', '{"private":true}');
  mkdirSync(path.join(folder, 'node_modules'));
  symlinkSync(root, path.join(folder, 'node_modules/komt'), 'junction');
  const entry = write(kind === 'import' ? 'main.mjs' : 'main.cjs', SOURCES[kind]);
  return { folder, entry };
}
