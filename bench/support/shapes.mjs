/** Model shapes that the benchmarks know by name. Vocabulary and context are Llama 2's. */
const LLAMA2 = { vocab_size: 32000, max_position_embeddings: 4096 };

export const SHAPES = {
  /** 1.5 M parameters: to see that something runs. */
  tiny: {
    vocab_size: 512,
    max_position_embeddings: 512,
    hidden_size: 256,
    intermediate_size: 512,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
  },
  /** 100.5 M parameters. */
  '100m': {
    ...LLAMA2,
    hidden_size: 640,
    intermediate_size: 1728,
    num_hidden_layers: 12,
    num_attention_heads: 10,
    num_key_value_heads: 10,
  },
  /** 1.10 G parameters: TinyLlama's shape, grouped queries 32/4. */
  '1.1b': {
    ...LLAMA2,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 22,
    num_attention_heads: 32,
    num_key_value_heads: 4,
  },
  /** 6.74 G parameters: Llama 2 7B. */
  '7b': {
    ...LLAMA2,
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
  },
  /** 13.0 G parameters: Llama 2 13B. */
  '13b': {
    ...LLAMA2,
    hidden_size: 5120,
    intermediate_size: 13824,
    num_hidden_layers: 40,
    num_attention_heads: 40,
    num_key_value_heads: 40,
  },
};

/** Matrices and norms of a Llama in file order, as [name, shape]. */
export function tensorsOf(shape) {
  const { hidden_size: hidden, intermediate_size: inner, vocab_size: vocab } = shape;
  const head = hidden / shape.num_attention_heads;
  const keyValue = shape.num_key_value_heads * head;
  const list = [['model.embed_tokens.weight', [vocab, hidden]]];
  for (let i = 0; i < shape.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    list.push(
      [`${layer}.input_layernorm.weight`, [hidden]],
      [`${layer}.self_attn.q_proj.weight`, [hidden, hidden]],
      [`${layer}.self_attn.k_proj.weight`, [keyValue, hidden]],
      [`${layer}.self_attn.v_proj.weight`, [keyValue, hidden]],
      [`${layer}.self_attn.o_proj.weight`, [hidden, hidden]],
      [`${layer}.post_attention_layernorm.weight`, [hidden]],
      [`${layer}.mlp.gate_proj.weight`, [inner, hidden]],
      [`${layer}.mlp.up_proj.weight`, [inner, hidden]],
      [`${layer}.mlp.down_proj.weight`, [hidden, inner]],
    );
  }
  list.push(['model.norm.weight', [hidden]], ['lm_head.weight', [vocab, hidden]]);
  return list;
}

export const elements = (dims) => dims.reduce((a, b) => a * b, 1);

export function parameterCount(shape) {
  return tensorsOf(shape).reduce((sum, [, dims]) => sum + elements(dims), 0);
}
