/** What the types say; `npm run typecheck` is what can fail here. */

import { describe, expectTypeOf, it } from 'vitest';
import type { GenerationConfig } from '../../lib/generation/configuration.js';
import { generate } from '../../lib/generation/generate.js';
import type { GenerationField } from '../../lib/generation/generation-fields.js';
import type {
  LogitsProcessor,
  LogitsProcessorList,
} from '../../lib/generation/logits-processor.js';
import type { GenerationModel } from '../../lib/generation/model.js';
import type { GenerateOptions } from '../../lib/generation/options.js';
import type { GenerateOutput } from '../../lib/generation/output.js';
import type { StoppingCriteriaList } from '../../lib/generation/stopping-criteria.js';
import { stream } from '../../lib/generation/stream.js';
import type { Tensor } from '../../lib/tensor.js';
import type { PreTrainedTokenizer } from '../../lib/tokenizers/index.js';

const call = (options: GenerateOptions) => generate({} as GenerationModel, options);
const dict = () => generate({} as GenerationModel, { return_dict_in_generate: true });
const logprobs = () => generate({} as GenerationModel, { output_logprobs: 2 });
const plain = () => generate({} as GenerationModel, { input_ids: [1], num_beams: 2 });
const off = () => generate({} as GenerationModel, { return_dict_in_generate: false });
const configured = (generation_config: GenerationConfig) =>
  generate({} as GenerationModel, { generation_config });

describe('types', () => {
  it('follow return_dict_in_generate and output_logprobs', () => {
    expectTypeOf(plain).returns.resolves.toEqualTypeOf<Tensor>();
    expectTypeOf(off).returns.resolves.toEqualTypeOf<Tensor>();
    expectTypeOf(configured).returns.resolves.toEqualTypeOf<Tensor>();
    expectTypeOf(dict).returns.resolves.toEqualTypeOf<GenerateOutput>();
    expectTypeOf(logprobs).returns.resolves.toEqualTypeOf<GenerateOutput>();
    expectTypeOf(call).returns.resolves.toEqualTypeOf<Tensor | GenerateOutput>();
  });

  it('know the options', () => {
    expectTypeOf<'top_k'>().toExtend<GenerationField>();
    expectTypeOf<GenerateOptions>().toHaveProperty('early_stopping');
    expectTypeOf<GenerateOptions['early_stopping']>().toEqualTypeOf<
      boolean | 'never' | null | undefined
    >();
    expectTypeOf<GenerationConfig['top_k']>().toEqualTypeOf<number | null>();
    // @ts-expect-error an option that does not exist
    expectTypeOf<GenerateOptions>().toHaveProperty('temperatur');
  });

  it('let processors and lists be called', () => {
    type Call = (input_ids: number[][], scores: Float32Array[]) => Float32Array[];
    expectTypeOf<LogitsProcessor>().toExtend<Call>();
    expectTypeOf<LogitsProcessorList>().toExtend<Call>();
    expectTypeOf<StoppingCriteriaList>().returns.toEqualTypeOf<boolean[] | Promise<boolean[]>>();
  });

  it('follow the tokenizer in stream', () => {
    const text = (tokenizer: PreTrainedTokenizer) => stream({} as GenerationModel, { tokenizer });
    const ids = () => stream({} as GenerationModel, { input_ids: [1] });
    expectTypeOf(text).returns.toEqualTypeOf<AsyncGenerator<string, void, void>>();
    expectTypeOf(ids).returns.toEqualTypeOf<AsyncGenerator<number, void, void>>();
  });
});
