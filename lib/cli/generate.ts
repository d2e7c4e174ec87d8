import type { Command } from 'commander';
import { InvalidArgumentError, TextStreamer } from 'komt';
import { interruptSignal } from './interrupt.js';
import {
  addLoadOptions,
  addSamplingOptions,
  type LoadFlags,
  type SamplingFlags,
  samplingOptions,
} from './options.js';
import { writeAnswer } from './output.js';
import { addTemplateOption, encodePrompt, type TemplateFlags } from './prompt.js';
import { AnswerClock, loadModel } from './session.js';

interface GenerateFlags extends LoadFlags, SamplingFlags, TemplateFlags {
  stats?: boolean;
}

/** Longest prompt from a pipe, in bytes: some four million tokens, more than any model takes. */
const MAX_PROMPT_BYTES = 16 << 20;

async function readPipe(): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_PROMPT_BYTES) {
      throw new InvalidArgumentError('The prompt is too long', {
        expected: `at most ${MAX_PROMPT_BYTES} bytes`,
        found: 'more on standard input',
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8').trimEnd();
}

/** The question: the argument, or standard input for '-' and where something is piped in. */
async function readPrompt(argument: string | undefined): Promise<string> {
  const remedy = 'Give it as an argument, or pipe it in.';
  if (argument === undefined && process.stdin.isTTY) {
    throw new InvalidArgumentError('There is no prompt', { remedy });
  }
  const piped = argument === undefined || argument === '-';
  const text = piped ? await readPipe() : argument;
  if (text.trim() === '') throw new InvalidArgumentError('The prompt is empty', { remedy });
  return text;
}

export function addGenerateCommand(program: Command): void {
  const command = program
    .command('generate')
    .description('Answer one prompt, streaming')
    .argument('[prompt]', "question or text; '-' or nothing reads standard input");
  addTemplateOption(addSamplingOptions(addLoadOptions(command)))
    .option('--stats', 'print tokens/s and the device when done (on stderr)')
    .action(async (argument: string | undefined, flags: GenerateFlags) => {
      const prompt = await readPrompt(argument);
      const signal = interruptSignal();
      const { model, tokenizer, loadSeconds } = await loadModel(flags, signal);
      try {
        const clock = new AnswerClock();
        const streamer = new TextStreamer(tokenizer, {
          skip_prompt: true,
          skip_special_tokens: true,
          callback_function: writeAnswer,
          token_callback_function: () => clock.tick(),
        });
        await model.generate({
          ...(await encodePrompt(tokenizer, [{ role: 'user', content: prompt }], flags.template)),
          ...samplingOptions(flags),
          tokenizer,
          streamer,
          signal,
        });
        writeAnswer('\n');
        if (flags.stats || flags.verbose) {
          console.error(`\n${clock.summary(model)}; loaded in ${loadSeconds.toFixed(2)} s`);
        }
      } finally {
        await model.dispose();
      }
    });
}
