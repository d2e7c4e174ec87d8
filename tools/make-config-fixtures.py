"""Writes test/fixtures/configs/configs.json: config.json files and how transformers 5.18 reads them.

    python tools/make-config-fixtures.py
"""

import json
import tempfile
from pathlib import Path

from transformers import AutoConfig

OUT = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "configs" / "configs.json"

SIZES = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
}


def family(name, **fields):
    return {"architectures": [f"{name}ForCausalLM"], "model_type": name.lower(), **SIZES, **fields}


LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 512}

CONFIGS = {
    "llama, nothing but sizes": family("Llama"),
    "mistral, nothing but sizes": family("Mistral"),
    "qwen2, nothing but sizes": family("Qwen2", num_key_value_heads=8),
    "llama, as published in 2023": family(
        "Llama",
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        max_position_embeddings=4096,
        num_key_value_heads=8,
        rms_norm_eps=1e-5,
        rope_scaling=None,
        torch_dtype="float16",
        tie_word_embeddings=False,
    ),
    "rope_theta beside": family("Llama", rope_theta=500000.0),
    "rope_theta beside and inside": family(
        "Llama", rope_theta=500000.0, rope_parameters={"rope_type": "default", "rope_theta": 1234.0}
    ),
    "rope_scaling under its old name": family(
        "Llama", rope_scaling={"type": "linear", "factor": 2.0}
    ),
    "rope_scaling wins over rope_parameters": family(
        "Llama",
        rope_scaling={"rope_type": "dynamic", "factor": 3.0},
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0},
    ),
    "empty rope_scaling": family(
        "Llama", rope_scaling={}, rope_parameters={"rope_type": "linear", "factor": 2.0}
    ),
    "llama3": family("Llama", rope_theta=5e5, rope_scaling={"rope_type": "llama3", **LLAMA3}),
    "llama3 without its original length": family(
        "Llama",
        rope_scaling={
            "rope_type": "llama3",
            **{k: v for k, v in LLAMA3.items() if k != "original_max_position_embeddings"},
        },
    ),
    "yarn": family("Qwen2", num_key_value_heads=8, rope_scaling={"type": "yarn", **YARN}),
    "yarn with all fields": family(
        "Llama",
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 7.0,
            **YARN,
            "attention_factor": 1.5,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "mscale": 0.7,
            "mscale_all_dim": 0.9,
            "truncate": False,
        },
    ),
    "original length beside wins": family(
        "Llama",
        original_max_position_embeddings=128,
        rope_scaling={"rope_type": "llama3", **LLAMA3},
    ),
    "mistral without a window": family("Mistral", sliding_window=None),
    "mistral with a window": family("Mistral", sliding_window=12, head_dim=24),
    "qwen2 with a window that is off": family(
        "Qwen2", num_key_value_heads=2, use_sliding_window=False, sliding_window=16
    ),
    "qwen2 with a window": family(
        "Qwen2",
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=16,
        max_window_layers=3,
    ),
    "qwen2 with layer types": family(
        "Qwen2",
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=16,
        layer_types=["full_attention", "sliding_attention"] * 2,
    ),
    "several eos": family("Llama", eos_token_id=[2, 5], tie_word_embeddings=True, dtype="bfloat16"),
    "no bos": family("Llama", bos_token_id=None, eos_token_id=None),
}

FIELDS = (
    "num_key_value_heads max_position_embeddings rms_norm_eps tie_word_embeddings "
    "bos_token_id eos_token_id pad_token_id rope_parameters"
).split()


def read(config):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        parsed = AutoConfig.from_pretrained(folder)
    # The model does this again when it computes its frequencies, which can change the original length.
    parsed.standardize_rope_params()
    result = {name: getattr(parsed, name) for name in FIELDS}
    result["head_dim"] = getattr(parsed, "head_dim", None) or 64 // 8
    result["sliding_window"] = getattr(parsed, "sliding_window", None)
    if parsed.model_type == "qwen2":
        result["layer_types"] = parsed.layer_types
    result["dtype"] = None if parsed.dtype is None else str(parsed.dtype).removeprefix("torch.")
    return result


def main():
    cases = [
        {"name": name, "config": config, "expected": read(config)}
        for name, config in CONFIGS.items()
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(cases, indent=1) + "\n")


main()
