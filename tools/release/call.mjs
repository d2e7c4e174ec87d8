// Runs a program to its end, for scripts that stop at the first thing that fails.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
/** Where packages that are ready to be published lie. */
export const PACKED = path.join(root, 'build/packed');

/** The package.json of a folder. */
export function readManifest(folder = root) {
  return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {import('node:child_process').SpawnOptions} [options] of spawn; cwd is the repository
 * @returns {Promise<{ status: number | null, stdout: string, text: string }>} text: both streams
 */
export function attempt(command, args, options = {}) {
  return new Promise((resolve) => {
    const stdio = ['ignore', 'pipe', 'pipe'];
    const child = spawn(command, args, { cwd: root, stdio, ...options });
    let stdout = '';
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (piece) => {
      stdout += piece;
      text += piece;
    });
    child.stderr?.setEncoding('utf8').on('data', (piece) => {
      text += piece;
    });
    child.on('error', (error) => resolve({ status: null, stdout, text: error.message }));
    child.on('close', (status) => resolve({ status, stdout, text }));
  });
}

/** What the program printed on its standard output; throws with all it printed where it fails. */
export async function call(command, args, options) {
  const { status, stdout, text } = await attempt(command, args, options);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${text}`);
  return stdout;
}
