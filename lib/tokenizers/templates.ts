import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { isListOf } from '../list-of.js';
import type { ChatMessage } from './chat-template.js';

/** Prompt forms that ship with the library, for models whose tokenizer has no chat template. */
export const PROMPT_TEMPLATES = ['komt', 'komt-space', 'llama-2-chat', 'mistral'] as const;

/**
 * - `komt`: `### instruction: {x}\n\n### Response:`, the komt models' form;
 * - `komt-space`: the same with a space at the end, as some of their snippets have it. It changes the
 *   tokens: the answer's first word then has no space of its own;
 * - `llama-2-chat`: `[INST] <<SYS>>...<</SYS>> {x} [/INST]` (Meta's reference implementation);
 * - `mistral`: `[INST]{x} [/INST]` as komt-mistral was trained, without system role.
 */
export type PromptTemplateName = (typeof PROMPT_TEMPLATES)[number];

/** What ends an answer in each form, for `stop_strings`; none where the model's eos does. */
export const PROMPT_STOP_STRINGS: Readonly<Record<PromptTemplateName, readonly string[]>> = {
  komt: ['###'],
  'komt-space': ['###'],
  'llama-2-chat': [],
  mistral: [],
};

/** Special tokens that stand between turns; the first turn's bos is left to the tokenizer. */
export interface PromptTokens {
  bos_token?: string | null;
  eos_token?: string | null;
}

interface Turn {
  user: string;
  assistant: string | null;
}

/** A conversation as its system text and turns of one question and at most one answer. */
function turnsOf(messages: readonly ChatMessage[]): { system: string | null; turns: Turn[] } {
  let system: string | null = null;
  const turns: Turn[] = [];
  messages.forEach(({ role, content }, i) => {
    const last = turns.at(-1);
    if (role === 'system' && i === 0) {
      system = content;
    } else if (role === 'user' && (last === undefined || last.assistant !== null)) {
      turns.push({ user: content, assistant: null });
    } else if (role === 'assistant' && last !== undefined && last.assistant === null) {
      last.assistant = content;
    } else {
      throw new InvalidArgumentError(
        'Conversation roles must alternate user/assistant/user/assistant/...',
        { subject: `messages[${i}].role`, found: role },
      );
    }
  });
  if (turns.length === 0) {
    throw new InvalidArgumentError('A conversation needs at least one user message', {
      subject: 'messages',
    });
  }
  return { system, turns };
}

function komt(messages: readonly ChatMessage[], space: string): string {
  const { system, turns } = turnsOf(messages);
  const parts = turns.map(({ user, assistant }) => {
    const head = `### instruction: ${user}\n\n### Response:`;
    return assistant === null ? head + space : `${head} ${assistant}`;
  });
  return (system === null ? [] : [system]).concat(parts).join('\n\n');
}

/** Earlier turns end with eos and a new bos, as Llama 2 and Mistral saw them. */
function inst(
  turns: readonly Turn[],
  tokens: PromptTokens,
  form: (user: string) => string,
): string {
  const eos = tokens.eos_token ?? '</s>';
  const bos = tokens.bos_token ?? '<s>';
  return turns
    .map(({ user, assistant }, i) => {
      const prompt = form(user);
      if (assistant === null) return prompt;
      const answer = `${prompt} ${assistant.trim()}`;
      return i + 1 < turns.length ? `${answer} ${eos}${bos}` : answer;
    })
    .join('');
}

function isMessage(message: unknown): message is ChatMessage {
  if (typeof message !== 'object' || message === null) return false;
  const { role, content } = message as ChatMessage;
  return typeof role === 'string' && typeof content === 'string';
}

function checkTokens(tokens: PromptTokens): void {
  if (typeof tokens !== 'object' || tokens === null) {
    throw invalidArgument('tokens', 'a tokenizer, or an object with bos_token, eos_token', tokens);
  }
  for (const name of ['bos_token', 'eos_token'] as const) {
    const token: unknown = tokens[name] ?? '';
    if (typeof token !== 'string') throw invalidArgument(name, 'a text or null', token);
  }
}

/**
 * The prompt of a conversation in one of the forms that ship by name. Tokenize it with special tokens
 * (the default), which puts the first bos in front.
 *
 * @param messages a user's text, or messages: an optional system message, then user and assistant in turn.
 *   A conversation that ends with the user's turn ends where the answer starts.
 * @param tokens the tokenizer, or bos and eos of its own, for the forms that put them between turns.
 * @throws InvalidArgumentError for an unknown name or roles that do not alternate.
 */
export function applyPromptTemplate(
  name: PromptTemplateName,
  messages: string | readonly ChatMessage[],
  tokens: PromptTokens = {},
): string {
  const list: unknown =
    typeof messages === 'string' ? [{ role: 'user', content: messages }] : messages;
  if (!isListOf(list, isMessage)) {
    throw invalidArgument(
      'messages',
      'a text or a list of messages, { role, content }, both texts',
      messages,
    );
  }
  checkTokens(tokens);
  switch (name) {
    case 'komt':
      return komt(list, '');
    case 'komt-space':
      return komt(list, ' ');
    case 'llama-2-chat': {
      const { system, turns } = turnsOf(list);
      const [first, ...rest] = turns as [Turn, ...Turn[]];
      const user = system === null ? first.user : `<<SYS>>\n${system}\n<</SYS>>\n\n${first.user}`;
      return inst([{ ...first, user }, ...rest], tokens, (text) => `[INST] ${text.trim()} [/INST]`);
    }
    case 'mistral': {
      const { system, turns } = turnsOf(list);
      const [first, ...rest] = turns as [Turn, ...Turn[]];
      const user = system === null ? first.user : `${system}\n\n${first.user}`;
      return inst([{ ...first, user }, ...rest], tokens, (text) => `[INST]${text} [/INST]`);
    }
    default:
      throw new InvalidArgumentError('Unknown prompt template', {
        expected: PROMPT_TEMPLATES.join(', '),
        found: name,
      });
  }
}
