"""Writes test/fixtures/checkpoint: small files of PyTorch and safetensors, and what is in them.

    python tools/make-checkpoint-fixtures.py

Needs torch and safetensors. `expected.json` holds dtype, shape and the values in row-major order, as
float64, for every tensor of every file; the tests need no Python.
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "checkpoint"


def describe(tensors):
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "values": tensor.detach().to(torch.float64).flatten().tolist(),
        }
        for name, tensor in tensors.items()
    }


def all_dtypes():
    values = torch.arange(-3, 3)
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8".split()
    tensors = OrderedDict((name, (values * 1.25).to(getattr(torch, name))) for name in names)
    tensors["uint8"] = values.abs().to(torch.uint8)
    tensors["bool"] = values > 0
    return tensors


def views():
    """Tensors that share one storage: offsets, gaps, transposes, a row that is repeated."""
    storage = torch.arange(40, dtype=torch.float32)
    matrix = storage[4:34].view(5, 6)
    return OrderedDict(
        slice=storage[7:12],
        rows=matrix[1:4],
        columns=matrix[:, 2:5],
        transposed=matrix.t(),
        every_other=storage[3::2],
        expanded=matrix[2].expand(3, 6),
        scalar=storage[9],
        empty=storage[5:5].view(0, 3),
    )


def module():
    """state_dict() is an OrderedDict with `_metadata`; beside it a Parameter as such."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4)).to(torch.bfloat16)
    tensors = layers.state_dict()
    tensors["parameter"] = torch.nn.Parameter(torch.arange(4.0))
    return tensors


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    expected = {}

    def save(name, tensors, **options):
        torch.save(tensors, OUT / name, **options)
        expected[name] = describe(tensors)

    save("dtypes.bin", all_dtypes())
    save("views.bin", views())
    save("module.bin", module())
    save("protocol4.bin", dict(all_dtypes()), pickle_protocol=4)
    torch.save({"model": views(), "step": 3, "lr": 0.5}, OUT / "nested.bin")
    expected["nested.bin"] = describe({f"model.{k}": v for k, v in views().items()})
    torch.save(all_dtypes(), OUT / "legacy.bin", _use_new_zipfile_serialization=False)

    save_file(all_dtypes(), OUT / "dtypes.safetensors", metadata={"format": "pt"})
    expected["dtypes.safetensors"] = describe(all_dtypes())

    shards = [OrderedDict(list(all_dtypes().items())[i::2]) for i in range(2)]
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"pytorch_model-{i + 1:05}-of-00002.bin"
        save(name, shard)
        weight_map |= dict.fromkeys(shard, name)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (OUT / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1))
    (OUT / "expected.json").write_text(json.dumps(expected))


main()
