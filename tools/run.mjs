// Runs a program, showing what it prints and keeping it.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{ echo?: boolean, env?: Record<string, string> }} [options] echo: show the output as it comes
 *   (default); env: added to the environment
 * @returns {Promise<{ ok: boolean, output: string }>} both streams in one text; a program that cannot be
 *   started has said so in it
 */
export function run(command, args, { echo = true, env = {} } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let output = '';
    const keep = (stream) => (text) => {
      output += text;
      if (echo) stream.write(text);
    };
    child.stdout.setEncoding('utf8').on('data', keep(process.stdout));
    child.stderr.setEncoding('utf8').on('data', keep(process.stderr));
    child.on('error', (error) => {
      resolve({ ok: false, output: `${command} could not be started: ${error.message}` });
    });
    child.on('close', (status, signal) => {
      if (signal) output += `\n${command} was ended by ${signal}`;
      resolve({ ok: status === 0, output });
    });
  });
}

/** The longest reason; one that is longer is an output that was misread. */
const MAX_REASON = 500;

/** The message below a 'CMake Error at' line: indented, up to the call stack or the next message. */
function cmakeMessage(lines, at) {
  const rest = lines.slice(at + 1);
  const end = rest.findIndex((line) => line !== '' && !line.startsWith('  '));
  return rest
    .slice(0, end === -1 ? undefined : end)
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join(' ');
}

/** What went wrong, in one line, from the output of CMake, a compiler or node-gyp. */
export function reasonOf(output) {
  const lines = output.split(/\r?\n/);
  const cmake = lines.findIndex((line) => line.startsWith('CMake Error at'));
  const reason =
    (cmake !== -1 && cmakeMessage(lines, cmake)) ||
    lines.find((line) => /\b(fatal )?error\b ?(C\d+)?:/i.test(line) && !line.startsWith('gyp ')) ||
    lines
      .find((line) => /gyp ERR! stack (\w*Error): /.test(line))
      ?.replace(/.*gyp ERR! stack (Error: )?/, '') ||
    lines.findLast((line) => line.trim() !== '') ||
    'no output';
  return reason.trim().slice(0, MAX_REASON);
}
