import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { AbortError, type ChatMessage, TextStreamer } from 'komt';
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
import { AnswerClock, type LoadedModel, loadModel } from './session.js';

interface ChatFlags extends LoadFlags, SamplingFlags, TemplateFlags {
  system?: string;
}

const HELP = `/help  this text
/reset  forget the conversation
/quit  leave (so does Ctrl-D)
Ctrl-C stops an answer; without one it leaves.`;

/** Answers the conversation so far; returns the text, also when `signal` ends it half way. */
async function answer(
  { model, tokenizer }: LoadedModel,
  messages: ChatMessage[],
  flags: ChatFlags,
  signal: AbortSignal,
): Promise<string> {
  const pieces: string[] = [];
  const clock = new AnswerClock();
  const streamer = new TextStreamer(tokenizer, {
    skip_prompt: true,
    skip_special_tokens: true,
    callback_function: (text: string) => {
      pieces.push(text);
      writeAnswer(text);
    },
    token_callback_function: () => clock.tick(),
  });
  try {
    await model.generate({
      ...(await encodePrompt(tokenizer, messages, flags.template)),
      ...samplingOptions(flags),
      tokenizer,
      streamer,
      signal,
    });
  } catch (error) {
    if (!(error instanceof AbortError)) throw error;
  }
  writeAnswer('\n');
  if (flags.verbose) console.error(clock.summary(model));
  return pieces.join('').trim();
}

/**
 * Reads lines and answers them until the input ends.
 * @param ended fires when the program is to end; for Ctrl-C that is decided here.
 * @throws AbortError
 */
async function converse(loaded: LoadedModel, flags: ChatFlags, ended: AbortSignal): Promise<void> {
  const system: ChatMessage[] = flags.system ? [{ role: 'system', content: flags.system }] : [];
  let messages = [...system];
  let running: AbortController | null = null;
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: '> ' });
  const onInterrupt = () => {
    if (running) running.abort();
    else lines.close();
  };
  // Newer versions of Node throw when a closed interface is asked to prompt.
  let open = true;
  lines.on('close', () => {
    open = false;
  });
  const isTerminated = () => ended.aborted && ended.reason.signal !== 'SIGINT';
  ended.addEventListener('abort', () => {
    if (!isTerminated()) return;
    running?.abort();
    lines.close();
  });
  lines.on('SIGINT', onInterrupt);
  process.on('SIGINT', onInterrupt);
  try {
    lines.prompt();
    for await (const line of lines) {
      const text = line.trim();
      if (text === '/quit') break;
      if (text === '/help') console.log(HELP);
      else if (text === '/reset') messages = [...system];
      else if (text !== '') {
        messages.push({ role: 'user', content: text });
        running = new AbortController();
        const reply = await answer(loaded, messages, flags, running.signal);
        running = null;
        messages.push({ role: 'assistant', content: reply });
      }
      if (open) lines.prompt();
    }
  } finally {
    process.off('SIGINT', onInterrupt);
    lines.close();
  }
  if (isTerminated()) throw new AbortError(ended.reason);
}

export function addChatCommand(program: Command): void {
  const command = program
    .command('chat')
    .description('Talk with a model; Ctrl-C stops the answer and not the program')
    .option('--system <text>', 'instruction in front of the conversation');
  addTemplateOption(addSamplingOptions(addLoadOptions(command))).action(
    async (flags: ChatFlags) => {
      const ended = interruptSignal();
      const loaded = await loadModel(flags, ended);
      try {
        if (process.stdin.isTTY) console.log(HELP);
        await converse(loaded, flags, ended);
      } finally {
        await loaded.model.dispose();
      }
    },
  );
}
