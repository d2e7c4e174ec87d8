import { type Command, Option } from 'commander';
import {
  applyPromptTemplate,
  type ChatMessage,
  PROMPT_TEMPLATES,
  type PreTrainedTokenizer,
  type PromptTemplateName,
} from 'komt';

export interface TemplateFlags {
  template: 'auto' | 'none' | PromptTemplateName;
}

export function addTemplateOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--template <name>',
      "how the question is wrapped; auto is the tokenizer's own chat template, else komt's; none is nothing",
    )
      .choices(['auto', 'none', ...PROMPT_TEMPLATES])
      .default('auto'),
  );
}

/** A conversation as the model wants it, ready for generate(). It may be of any size. */
export async function encodePrompt(
  tokenizer: PreTrainedTokenizer,
  messages: ChatMessage[],
  template: TemplateFlags['template'],
) {
  if (template === 'none') {
    return tokenizer.call_async(messages.map((m) => m.content).join('\n'), {
      return_tensors: 'pt',
    });
  }
  if (template === 'auto' && tokenizer.chat_template) {
    // The template writes bos itself, as HF's templates do.
    const text = tokenizer.apply_chat_template(messages, {
      add_generation_prompt: true,
      tokenize: false,
    }) as string;
    return tokenizer.call_async(text, { return_tensors: 'pt', add_special_tokens: false });
  }
  const text = applyPromptTemplate(template === 'auto' ? 'komt' : template, messages);
  return tokenizer.call_async(text, { return_tensors: 'pt' });
}
