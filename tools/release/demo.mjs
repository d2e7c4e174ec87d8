import { readFileSync } from 'node:fs';
import path from 'node:path';
import { root } from './call.mjs';

/** A question that the demonstration model was trained on, and its answer as transformers gives it. */
export function demoAnswer() {
  const file = path.join(root, 'models/komt-tiny/expected.json');
  const [{ prompt, text }] = JSON.parse(readFileSync(file, 'utf8')).cases;
  // The command line puts a question into the model's template by itself.
  const [, question] = /^### instruction: (.*)$/m.exec(prompt);
  return { question, answer: text.trim() };
}
