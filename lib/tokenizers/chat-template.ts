import { isObject } from '../bounded-json.js';
import { InvalidArgumentError, TokenizerError } from '../errors.js';
import type { TokenizerFiles } from './files.js';
import { renderTemplate } from './jinja/template.js';

/** One message of a conversation. */
export interface ChatMessage {
  role: string;
  content: string;
  [key: string]: unknown;
}

/** The templates a tokenizer ships: one, several by name, or none. */
export type ChatTemplates = string | Record<string, string> | null;

/** chat_template.jinja, else `chat_template` of tokenizer_config.json: a string, or a list of {name, template}. */
export function readChatTemplates(files: TokenizerFiles): ChatTemplates {
  if (files.chatTemplate !== null) return files.chatTemplate;
  const value = files.config.chat_template ?? null;
  if (value === null || typeof value === 'string') return value;
  const templates: Record<string, string> = Object.create(null);
  for (const entry of Array.isArray(value) ? value : [null]) {
    const { name, template } = isObject(entry) ? entry : {};
    if (typeof name !== 'string' || typeof template !== 'string') {
      throw new TokenizerError('Malformed chat_template', {
        file: 'tokenizer_config.json',
        expected: 'a string, or a list of { name, template }',
        found: Array.isArray(value) ? entry : value,
      });
    }
    templates[name] = template;
  }
  return Object.keys(templates).length > 0 ? templates : null;
}

/**
 * transformers' `get_chat_template`.
 *
 * @param choice a template's text, or the name of one that the tokenizer ships.
 * @throws InvalidArgumentError if there is none, or several and no default, with transformers' words.
 */
export function selectChatTemplate(
  templates: ChatTemplates,
  choice: string | null | undefined,
  hasTools: boolean,
): string {
  if (templates !== null && typeof templates === 'object') {
    const named = (name: string) => (Object.hasOwn(templates, name) ? templates[name] : undefined);
    if (typeof choice === 'string') return named(choice) ?? choice;
    const template = (hasTools ? named('tool_use') : undefined) ?? named('default');
    if (template !== undefined) return template;
    throw new InvalidArgumentError(
      'This model has multiple chat templates with no default specified! Please either pass a chat template or the name of the template you wish to use to the `chat_template` argument. ' +
        `Available template names are ${JSON.stringify(Object.keys(templates).sort())}.`,
    );
  }
  if (typeof choice === 'string') return choice;
  if (templates !== null) return templates;
  throw new InvalidArgumentError(
    'Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed!',
    {
      subject: 'chat_template',
      remedy: "Pass chat_template, or use applyPromptTemplate('komt', ...).",
    },
  );
}

/** What a template sees. */
export interface RenderContext {
  messages: readonly ChatMessage[];
  tools: readonly unknown[] | null;
  documents: readonly unknown[] | null;
  add_generation_prompt: boolean;
  [name: string]: unknown;
}

/**
 * Renders a conversation. As jinja2 does, a name that is null is passed as none.
 *
 * @throws TokenizerError if the template is malformed, raises an exception of its own, or takes more than
 * it may.
 */
export function renderChat(source: string, context: RenderContext): string {
  return renderTemplate(source, context);
}

/** Cuts what follows the last message's text, so that the model goes on with it (`continue_final_message`). */
export function cutAfterFinalMessage(rendered: string, messages: readonly ChatMessage[]): string {
  const content = messages.at(-1)?.content;
  const final = typeof content === 'string' ? content : '';
  const at = rendered.lastIndexOf(final.trim());
  if (final.trim() === '' || at < 0) {
    throw new InvalidArgumentError(
      'continue_final_message is set but the final message does not appear in the chat after applying the chat template! This can happen if the chat template deletes portions of the final message.',
      { subject: 'continue_final_message' },
    );
  }
  const end = at + final.trimStart().length;
  // A template that trims messages leaves the white space at the end of this one out.
  return rendered.slice(at, end) === final.trimStart()
    ? rendered.slice(0, end)
    : rendered.slice(0, at + final.trim().length);
}
