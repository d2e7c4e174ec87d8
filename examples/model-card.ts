/**
 * The usage example of komt-Llama-2-13b-hf's model card, line by line:
 *   npx tsx examples/model-card.ts [folder or Hub id] [question]
 * Without arguments it asks the demonstration model that ships with the package.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  GenerationConfig,
  StoppingCriteria,
  StoppingCriteriaList,
  type Tensor,
  TextStreamer,
} from 'komt';

const stopWords = ['</s>', '###'];

export async function main(
  model_name = path.join(path.dirname(fileURLToPath(import.meta.url)), '../models/komt-tiny'),
  question = '자동차 종합(정기)검사 의무기간은 얼마인가요?',
  write?: (text: string) => void,
): Promise<string> {
  const model = await AutoModelForCausalLM.from_pretrained(model_name, { device_map: 'auto' });
  const tokenizer = await AutoTokenizer.from_pretrained(model_name);
  const streamer = new TextStreamer(tokenizer, {
    skip_prompt: true,
    skip_special_tokens: true,
    callback_function: write,
  });

  class StopOnText extends StoppingCriteria {
    override _call(input_ids: number[][]): boolean[] {
      return input_ids.map((ids) => {
        const text = tokenizer.decode(ids);
        return stopWords.some((word) => text.endsWith(word));
      });
    }
  }

  async function gen(x: string): Promise<string> {
    const prompt = `### instruction: ${x}\n\n### Response: `;
    model.eval();
    const gened = await model.generate({
      ...tokenizer(prompt, { return_tensors: 'pt', return_token_type_ids: false }).to('cuda'),
      generation_config: new GenerationConfig({
        temperature: 0.9,
        top_p: 0.7,
        top_k: 100,
        max_new_tokens: 2048,
        early_stopping: true,
        do_sample: true,
      }),
      eos_token_id: model.config.eos_token_id,
      stopping_criteria: new StoppingCriteriaList([new StopOnText()]),
      streamer,
    });
    return tokenizer.decode(gened[0] as Tensor, { skip_special_tokens: true });
  }

  try {
    return await gen(question);
  } finally {
    await model.dispose();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(...(process.argv.slice(2) as [string?, string?]));
}
