import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../lib/bounded-json.js';
import {
  CheckpointError,
  FileNotFoundError,
  InvalidArgumentError,
  UnsupportedModelError,
} from '../../lib/errors.js';
import { AutoConfig, PretrainedConfig } from '../../lib/models/config.js';
import { temporaryFolder } from '../temporary-folder.js';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'configs', 'configs.json');
const folder = temporaryFolder();

interface Case {
  name: string;
  config: JsonObject;
  expected: JsonObject & { rope_parameters: JsonObject };
}

const cases = JSON.parse(readFileSync(FIXTURES, 'utf8')) as Case[];
const defined = (object: object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

const llama = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 100,
  hidden_size: 64,
  intermediate_size: 172,
  num_hidden_layers: 2,
  num_attention_heads: 8,
};

describe('config.json is read as transformers reads it', () => {
  it.each(cases)('$name', ({ config, expected }) => {
    const parsed = new PretrainedConfig(config);
    const { rope_parameters, ...fields } = expected;
    expect(parsed).toMatchObject(fields);
    const { type: _, ...rope } = rope_parameters;
    // What transformers fills in where it computes the frequencies, komt fills in when it reads them.
    const filled = rope.rope_type === 'yarn' ? { beta_fast: 32, beta_slow: 1, truncate: true } : {};
    expect(defined(parsed.rope)).toEqual({ ...filled, ...rope });
    expect(parsed.raw).toBe(config);
  });

  it('has one layer type a layer, as each family attends', () => {
    const window = { sliding_window: 16, num_key_value_heads: 8 };
    const types = (config: object) => new PretrainedConfig({ ...llama, ...config }).layer_types;
    expect(types({})).toEqual(['full_attention', 'full_attention']);
    const mistral = { model_type: 'mistral', architectures: ['MistralForCausalLM'], ...window };
    expect(types(mistral)).toEqual(['sliding_attention', 'sliding_attention']);
    expect(types({ ...mistral, sliding_window: null })).toEqual([
      'full_attention',
      'full_attention',
    ]);
  });

  it('has biases where Llama has them', () => {
    const biased = new PretrainedConfig({ ...llama, attention_bias: true, mlp_bias: true });
    expect(biased).toMatchObject({ attention_bias: true, mlp_bias: true });
    expect(new PretrainedConfig(llama)).toMatchObject({ attention_bias: false, mlp_bias: false });
  });

  it('takes -1 for no token, as early checkpoints have it', () => {
    expect(new PretrainedConfig({ ...llama, pad_token_id: -1 }).pad_token_id).toBeNull();
  });

  it('goes by the architecture where model_type is missing', () => {
    const { model_type: _, ...config } = llama;
    expect(new PretrainedConfig(config).model_type).toBe('llama');
    const { architectures: __, ...typed } = llama;
    expect(new PretrainedConfig(typed).model_type).toBe('llama');
  });
});

describe('a config is refused', () => {
  const refused: [string, object, RegExp][] = [
    [
      'of another family',
      { model_type: 'gemma3', architectures: ['Gemma3ForCausalLM'] },
      /Gemma3ForCausalLM is not supported: expected LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM/,
    ],
    [
      'of another task',
      { architectures: ['LlamaForSequenceClassification'] },
      /LlamaForSequenceClassification is not supported/,
    ],
    ['of no family', { model_type: undefined, architectures: undefined }, /\(none given\)/],
    [
      'with a family that contradicts',
      { architectures: ['MistralForCausalLM'] },
      /MistralForCausalLM/,
    ],
    [
      'with model_type "constructor"',
      { model_type: 'constructor', architectures: [] },
      /constructor is not supported/,
    ],
    [
      'of quantized weights',
      { quantization_config: { quant_method: 'gptq' } },
      /are quantized: expected float32.*found gptq.*quantization_config.*unquantized repository/,
    ],
    ['with another activation', { hidden_act: 'gelu' }, /hidden_act.*expected silu, found gelu/],
    ['without a size', { hidden_size: undefined }, /hidden_size.*an integer.*found nothing/],
    ['with a size of 0', { num_hidden_layers: 0 }, /num_hidden_layers/],
    ['with a negative size', { vocab_size: -1 }, /vocab_size/],
    ['with a fractional size', { intermediate_size: 1.5 }, /intermediate_size/],
    ['with a text for a size', { vocab_size: '100' }, /vocab_size/],
    ['with an enormous size', { hidden_size: 2 ** 40 }, /hidden_size.*from 1 to 65536/],
    ['with too many layers', { num_hidden_layers: 1025 }, /num_hidden_layers.*from 1 to 1024/],
    ['with too many tokens', { vocab_size: 2 ** 21 + 1 }, /vocab_size.*from 1 to 2097152/],
    ['with too many positions', { max_position_embeddings: 2 ** 24 + 1 }, /from 1 to 16777216/],
    [
      'with heads that are too wide together',
      { num_attention_heads: 1024, hidden_size: 1024, head_dim: 130 },
      /head_dim.*at most 131072 for all 1024 heads together/,
    ],
    [
      'with too many parameters',
      { num_hidden_layers: 1024, hidden_size: 2 ** 16, head_dim: 8, intermediate_size: 2 ** 18 },
      /a model of at most 4398046511104 parameters/,
    ],
    ['with an infinite epsilon', { rms_norm_eps: Number.POSITIVE_INFINITY }, /rms_norm_eps/],
    ['with an epsilon that is no number', { rms_norm_eps: Number.NaN }, /rms_norm_eps/],
    [
      'with a wavelength beyond float32',
      { rope_theta: 1e300 },
      /rope_theta.*at most 1000000000000/,
    ],
    [
      'with a factor beyond float32',
      { rope_scaling: { type: 'linear', factor: 1e-300 } },
      /rope_scaling\.factor/,
    ],
    ['with a scaling that is a list', { rope_scaling: [2] }, /rope_scaling.*an object or null/],
    ['with a long name', { hidden_act: 'x'.repeat(257) }, /hidden_act.*at most 256 characters/],
    ['with many end tokens', { eos_token_id: Array(1001).fill(1) }, /eos_token_id.*1 to 1000/],
    [
      'with heads that do not divide',
      { num_attention_heads: 7 },
      /hidden_size.*multiple of num_attention_heads, which is 7/,
    ],
    [
      'with key heads that do not divide',
      { num_key_value_heads: 3 },
      /num_key_value_heads.*divisor/,
    ],
    ['with more key heads than heads', { num_key_value_heads: 16 }, /num_key_value_heads/],
    ['with an odd head size', { head_dim: 7 }, /head_dim.*even/],
    ['with a negative epsilon', { rms_norm_eps: -1 }, /rms_norm_eps/],
    ['with a truth that is a number', { tie_word_embeddings: 1 }, /tie_word_embeddings/],
    ['with an eos that is a text', { eos_token_id: '</s>' }, /eos_token_id/],
    ['with an empty list of eos', { eos_token_id: [] }, /eos_token_id/],
    ['with a dtype that is a number', { torch_dtype: 16 }, /torch_dtype/],
    [
      'with an unknown scaling',
      { rope_scaling: { rope_type: 'longrope', factor: 2 } },
      /longrope is not supported: expected default, linear/,
    ],
    ['with a scaling without factor', { rope_scaling: { type: 'linear' } }, /rope_scaling\.factor/],
    [
      'with a factor of 0',
      { rope_scaling: { type: 'linear', factor: 0 } },
      /rope_scaling\.factor.*a number from 0\.0009765625, at most 1048576/,
    ],
    [
      'with a dynamic factor below 1',
      { rope_scaling: { type: 'dynamic', factor: 0.5 } },
      /rope_scaling\.factor.*from 1/,
    ],
    ['with a wavelength of 0', { rope_theta: 0 }, /rope_theta.*above 1,/],
    ['with a scaling that is a text', { rope_parameters: 'linear' }, /rope_parameters/],
    [
      'with a scaling a layer type',
      { rope_parameters: { full_attention: { rope_type: 'default' } } },
      /one set for all layers/,
    ],
    ['with end tokens that are holes', { eos_token_id: new Array(3) }, /eos_token_id/],
    ['with end tokens without end', { eos_token_id: new Array(2 ** 32 - 1) }, /eos_token_id/],
    ['with architectures that are holes', { architectures: new Array(3) }, /architectures/],
    ['with a part of each head rotated', { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    [
      'with frequencies the wrong way round',
      { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1 } },
      /rope_scaling\.high_freq_factor.*above 4/,
    ],
  ];
  it.each(refused)('%s', (_, fields, message) => {
    const config = defined({ ...llama, ...fields });
    expect(() => new PretrainedConfig(config, '/models/x/config.json')).toThrow(message);
    try {
      new PretrainedConfig(config, '/models/x/config.json');
    } catch (error) {
      expect(error).toBeInstanceOf(UnsupportedModelError);
      expect((error as UnsupportedModelError).file).toBe('/models/x/config.json');
    }
  });

  it.each([[null], [1], ['{}'], [[]], [undefined]])('that is %j', (raw) => {
    expect(() => new PretrainedConfig(raw as never)).toThrow(InvalidArgumentError);
  });

  const qwen2 = { ...llama, model_type: 'qwen2', architectures: undefined, num_key_value_heads: 8 };
  it.each([
    [['full_attention']],
    [['full_attention', 'chunked_attention']],
    [['full_attention', 'sliding_attention']],
  ])('with the layer types %j and no window', (layer_types) => {
    const config = defined({ ...qwen2, layer_types });
    expect(() => new PretrainedConfig(config)).toThrow(/layer_types.*2 times full_attention/);
  });
});

describe('AutoConfig.from_pretrained', () => {
  it('reads a local folder, and a subfolder of it', async () => {
    mkdirSync(join(folder.path, 'inner'));
    folder.write('inner/config.json', JSON.stringify(llama));
    expect((await AutoConfig.from_pretrained(join(folder.path, 'inner'))).hidden_size).toBe(64);
    const options = { subfolder: 'inner' };
    expect((await AutoConfig.from_pretrained(folder.path, options)).head_dim).toBe(8);
  });

  it('says what is wrong with the file', async () => {
    await expect(AutoConfig.from_pretrained(folder.path)).rejects.toThrow(FileNotFoundError);
    writeFileSync(join(folder.path, 'config.json'), '{"model_type": "llama",');
    const error = await AutoConfig.from_pretrained(folder.path).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toMatch(/config\.json is not valid JSON/);
  });
});
