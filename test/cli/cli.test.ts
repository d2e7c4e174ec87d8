import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { printable } from '../../lib/cli/output.js';
import { skipped } from '../skipped.js';
import { temporaryFolder } from '../temporary-folder.js';

const root = path.resolve(import.meta.dirname, '../..');
const pairs: { instruction: string; response: string }[] = JSON.parse(
  readFileSync(path.join(root, 'models/komt-tiny/seed-qa.json'), 'utf8'),
);
const [pair] = pairs as [(typeof pairs)[number]];

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs dist/cli.js; `onOutput` sees standard output as it grows. */
function komt(
  args: string[],
  {
    input,
    onOutput,
  }: { input?: string; onOutput?: (text: string, child: ReturnType<typeof spawn>) => void } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path.join(root, 'dist/cli.js'), ...args]);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      onOutput?.(stdout, child);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('close', (code) => resolve({ code, stdout, stderr }));
    if (onOutput === undefined) child.stdin.end(input ?? '');
    else if (input !== undefined) child.stdin.write(input);
  });
}

describe('komt generate', () => {
  it('streams the answer of the demonstration model', async () => {
    const { code, stdout, stderr } = await komt([
      'generate',
      '--greedy',
      '--stats',
      pair.instruction,
    ]);
    expect(stdout.trim()).toBe(pair.response);
    expect(stderr).toMatch(
      /\d+ tokens, [\d.]+ tokens\/s, the first after \d+ ms, on \S+ in float16/,
    );
    expect(code).toBe(0);
  });
  it('reads the prompt from a pipe, and takes no progress bars into it', async () => {
    const { stdout, stderr } = await komt(['generate', '--greedy'], {
      input: `${pair.instruction}\n`,
    });
    expect(stdout.trim()).toBe(pair.response);
    expect(stderr).toBe('');
  });
  it('repeats itself for a seed', async () => {
    const args = [
      'generate',
      '--temperature',
      '5',
      '--top-p',
      '1',
      '--top-k',
      '0',
      '-n',
      '20',
      '--seed',
      '3',
      '가',
    ];
    expect((await komt(args)).stdout).toBe((await komt(args)).stdout);
  });
  it('says what is wrong in one paragraph, and the stack only when asked', async () => {
    const plain = await komt(['generate', '--model', './no-such-folder', 'x']);
    expect(plain.code).toBe(1);
    expect(plain.stderr).toMatch(/^komt: .*no-such-folder/);
    expect(plain.stderr).not.toMatch(/\n\s+at /);
    const verbose = await komt(['generate', '--verbose', '--model', './no-such-folder', 'x']);
    expect(verbose.stderr).toMatch(/\n\s+at /);
  });
  it('ends quietly when nobody reads on', async () => {
    const { stderr, code } = await komt(['generate', '--greedy', pair.instruction], {
      onOutput: (_, child) => child.stdout?.destroy(),
    });
    expect(stderr).toBe('');
    expect(code).toBe(0);
  });
  it('exits with 2 for wrong usage', async () => {
    expect((await komt(['generate', '--top-p', '1.5', 'x'])).code).toBe(2);
    expect((await komt(['generate', '--no-such-flag', 'x'])).code).toBe(2);
    expect((await komt(['generate'], { input: '' })).code).toBe(2);
    expect((await komt(['no-such-command'])).code).toBe(2);
    expect((await komt(['generate', ' '])).stderr).toMatch(/The prompt is empty/);
  });
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ends without a word on %s, with %d', async (signal, expected) => {
    let sent = false;
    const { code, stderr } = await komt(['generate', '--greedy', pair.instruction], {
      onOutput: (_text, child) => {
        if (!sent) child.kill(signal);
        sent = true;
      },
    });
    expect(code).toBe(expected);
    expect(stderr).toBe('');
  });
  it('names the error, and takes KOMT_DEBUG for a wish to see its stack', async () => {
    const args = ['generate', '--model', './no-such-folder', 'x'];
    expect((await komt(args)).stderr).toMatch(/^komt: FileNotFoundError: .*Check the path.*\n$/);
    process.env.KOMT_DEBUG = '1';
    try {
      expect((await komt(args)).stderr).toMatch(/\n\s+at /);
    } finally {
      delete process.env.KOMT_DEBUG;
    }
  });
  it('takes no prompt without end', async () => {
    const { code, stderr } = await komt(['generate'], { input: 'x'.repeat((16 << 20) + 1) });
    expect(stderr).toMatch(/The prompt is too long: expected at most 16777216 bytes/);
    expect(code).toBe(2);
  });
});

describe('output that cannot be written', () => {
  const full = '/dev/full';
  it
    .skipIf(skipped(!existsSync(full), 'this system has no /dev/full'))
    .each([['inspect'], ['generate', '--greedy', '가']])(
    'ends %s with one sentence and 1',
    async (...args) => {
      const output = openSync(full, 'w');
      try {
        const child = spawn(process.execPath, [path.join(root, 'dist/cli.js'), ...args], {
          stdio: ['ignore', output, 'pipe'],
        });
        let stderr = '';
        child.stderr?.setEncoding('utf8').on('data', (text: string) => {
          stderr += text;
        });
        expect(await new Promise((done) => child.on('close', done))).toBe(1);
        expect(stderr).toMatch(/^komt: Standard output cannot be written: ENOSPC.*\n$/);
      } finally {
        closeSync(output);
      }
    },
  );
});

describe('what a model says', () => {
  const hostile = 'a\x1b]52;c;ZXZpbA==\x07b\x9b2Jc\r\0d\n\t한\x7f';
  it('reaches a terminal without what the terminal would obey', () => {
    expect(printable(hostile, { isTTY: true })).toBe('a]52;c;ZXZpbA==b2Jcd\n\t한');
  });
  it('reaches a pipe as it is', () => {
    expect(printable(hostile, {})).toBe(hostile);
  });
});

describe('komt chat', () => {
  it('answers line by line and remembers', async () => {
    const { code, stdout } = await komt(['chat', '--greedy'], {
      input: `${pair.instruction}\n/reset\n/quit\n`,
    });
    expect(stdout).toContain(pair.response);
    expect(code).toBe(0);
  });
  it('Ctrl-C stops the answer and not the program', async () => {
    let interrupted = false;
    let asked = false;
    const { code, stdout } = await komt(['chat', '--greedy'], {
      input: `${pair.instruction}\n`,
      onOutput: (text, child) => {
        if (!interrupted && text.length > 20) {
          interrupted = true;
          child.kill('SIGINT');
        } else if (interrupted && !asked && text.trimEnd().endsWith('>')) {
          asked = true;
          child.stdin?.end(`/reset\n${pairs[1]?.instruction}\n`);
        }
      },
    });
    expect(stdout).toContain(pairs[1]?.response.split('\n')[0]);
    expect(stdout).not.toContain(pair.response);
    expect(code).toBe(0);
  });
});

describe('komt chat that is terminated', () => {
  it('ends with 143', async () => {
    let sent = false;
    const { code } = await komt(['chat', '--greedy'], {
      input: `${pair.instruction}\n`,
      onOutput: (text, child) => {
        if (!sent && text.length > 20) {
          sent = true;
          child.kill('SIGTERM');
        }
      },
    });
    expect(code).toBe(143);
  });
});

describe('komt inspect', () => {
  it('shows devices and what was built', async () => {
    const { code, stdout } = await komt(['inspect']);
    expect(stdout).toMatch(/^komt +\d+\.\d+\.\d+/);
    expect(stdout).toMatch(/\ncpu +\d+ cores/);
    expect(code).toBe(0);
  });
  it('tells what a model needs before loading it', async () => {
    const { stdout } = await komt(['inspect', '--model', path.join(root, 'models/komt-tiny')]);
    expect(stdout).toMatch(/parameters +2\.3 M/);
    expect(stdout).toMatch(/weights 4\.6 MB/);
  });
});

describe('komt inspect --json', () => {
  it('says the same for programs', async () => {
    const model = path.join(root, 'models/komt-tiny');
    const { code, stdout } = await komt(['inspect', '--json', '--model', model]);
    expect(code).toBe(0);
    const { komt: version, addon, tried, devices, ...rest } = JSON.parse(stdout);
    expect(addon).toMatchObject({ version, backends: expect.arrayContaining(['cpu']) });
    expect(tried.at(-1)).toEqual({ source: addon.source, file: addon.file });
    expect(devices[0].name).toBe('cpu');
    expect(rest.remedies).toEqual([]);
    expect(rest.model.devices[0]).toMatchObject({ name: 'cpu', weightBytes: 4_596_736 });
  });
});

describe('komt inspect of a large model', () => {
  it('knows from config.json what does not fit, and what would help', async () => {
    const config = {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_size: 16_384,
      intermediate_size: 53_248,
      num_hidden_layers: 126,
      num_attention_heads: 128,
      num_key_value_heads: 8,
      vocab_size: 128_256,
      torch_dtype: 'float32',
    };
    const folder = temporaryFolder();
    folder.write('config.json', JSON.stringify(config));
    const { stdout } = await komt(['inspect', '--model', folder.path]);
    expect(stdout).toMatch(/parameters +405\.85 G/);
    expect(stdout).toMatch(
      /on cpu in float32: weights 1623\.41 GB, cache 1\.06 GB per 1,024 tokens/,
    );
    expect(stdout).toMatch(/does not fit: .* too much; --dtype float16 halves the weights/);
  });
});

describe('--help', () => {
  it('can be used by a newcomer', async () => {
    const { code, stdout } = await komt(['--help']);
    expect(code).toBe(0);
    for (const word of ['generate', 'chat', 'inspect', 'Examples:', 'Exit codes:']) {
      expect(stdout).toContain(word);
    }
  });
});
