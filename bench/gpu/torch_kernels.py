"""cuBLAS and PyTorch's fused attention on the shapes of bench/kernels.mjs, as JSON.

Times are medians of CUDA graphs of many launches between two events; data is normal, weights rotate
through more than the level 2 cache holds. One result is {kernel, what, us}, `what` as in
bench/kernels.mjs, so that the two can be laid side by side.
"""
import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

MODELS = [("7B", 4096, 11008, 32, 32000), ("13B", 5120, 13824, 40, 32000)]
HEAD_DIM = 128
LAUNCHES = 20
REPEATS = 11


def microseconds(launch):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for i in range(3):
            launch(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(LAUNCHES):
            launch(i)
    times = []
    for _ in range(REPEATS):
        start = torch.cuda.Event(enable_timing=True)
        stop = torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(1000 * start.elapsed_time(stop) / LAUNCHES)
    return statistics.median(times)


def products(results):
    l2 = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 64 << 20)
    for name, hidden, inner, heads, vocab in MODELS:
        layers = [
            ("qkv", 3 * heads * HEAD_DIM, hidden),
            ("o", hidden, hidden),
            ("gate+up", 2 * inner, hidden),
            ("down", hidden, inner),
            ("lm_head", vocab, hidden),
        ]
        for layer, n, k in layers:
            copies = min(64, -(-2 * l2 // (2 * n * k)) + 1)
            weights = [
                0.02 * torch.randn(n, k, device="cuda", dtype=torch.float16) for _ in range(copies)
            ]
            for m in (1, 8, 64, 2048):
                x = torch.randn(m, k, device="cuda", dtype=torch.float16)
                y = torch.empty(m, n, device="cuda", dtype=torch.float16)
                us = microseconds(lambda i: torch.matmul(x, weights[i % copies].t(), out=y))
                what = f"{name} {layer} m={m} {n}x{k}"
                results.append({"kernel": "gemm", "what": what, "by": "cuBLAS", "us": us})


def attentions(results):
    for name, _hidden, _inner, heads, _vocab in MODELS:
        for length in (2048, 8192):
            q, k, v = (
                torch.randn(1, heads, length, HEAD_DIM, device="cuda", dtype=torch.float16)
                for _ in range(3)
            )
            for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
                try:
                    with sdpa_kernel(backend):
                        us = microseconds(
                            lambda i: F.scaled_dot_product_attention(q, k, v, is_causal=True)
                        )
                except RuntimeError as error:
                    print(f"{backend.name}: {str(error).splitlines()[0]}", file=sys.stderr)
                    continue
                what = f"{name} prefill of {length}"
                results.append(
                    {"kernel": "attention", "what": what, "by": backend.name.lower(), "us": us}
                )


def main():
    if not torch.cuda.is_available():
        print("no CUDA device: skipped", file=sys.stderr)
        return
    results = []
    with torch.inference_mode():
        products(results)
        attentions(results)
    print(json.dumps({"version": torch.__version__, "results": results}))


main()
