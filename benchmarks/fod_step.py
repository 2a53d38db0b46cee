"""What one training step of FOD keeps in memory and how long it takes, ours and the naive way.

    python benchmarks/fod_step.py [--repeats 5] [--device cpu]

At the paper's sizes, batch 1: 512 channels on 32x32 tokens (width 256) and 1024 channels on 16x16 (width 512), 8 heads,
3 layers. The naive way writes all tokens x tokens matrices out and goes backward twice, through the paper's two losses
(tests/methods/naive_fod.py; the same gradients, compared here too). Memory is the highest number of bytes in tensors
that the step itself made, gradients of the weights not included; on a CPU each tensor's storage is followed from its
making to its end, on a GPU PyTorch's allocator is asked. Times are medians, the two ways taken in turn. Writes
benchmarks/results/fod_step_<device>.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.live_bytes import LiveBytes  # noqa: E402
from tests.methods.fod import naive_fod  # noqa: E402

from discrepancy.methods.fod.attention_hooks import AdversarialAttention  # noqa: E402
from discrepancy.methods.fod.model import cosine_distances  # noqa: E402
from discrepancy.methods.fod.parameters import FODParameters  # noqa: E402
from discrepancy.methods.fod.training import loss_weights  # noqa: E402
from discrepancy.methods.fod.transformer import CorrelationTransformer, Shape  # noqa: E402

RESULTS = ROOT / "benchmarks/results"
SHAPES = [Shape(512, (32, 32), 256, 8, 3), Shape(1024, (16, 16), 512, 8, 3)]
MIB = 2**20


def ours(transformer: CorrelationTransformer, tokens: Tensor, reference: Tensor) -> None:
    """Gradients by one backward pass."""
    game = AdversarialAttention(loss_weights(FODParameters()))
    reconstruction = transformer(tokens, reference, game)
    loss = torch.nn.functional.mse_loss(reconstruction, tokens) + cosine_distances(reconstruction, tokens).mean()
    (2 * loss + game.pull / len(transformer.layers)).backward()


def memory(call: Callable[[], None], device: torch.device) -> float:
    """The most that a call has in tensors of its own making, MiB."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with LiveBytes() as live:
        call()
    return live.peak / MIB


def seconds(call: Callable[[], None], device: torch.device) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def counted(transformer: CorrelationTransformer, shape: Shape) -> dict[str, float]:
    """Operations of one step of ours: products in GFLOP, entries of tokens x tokens matrices in millions."""
    tokens = shape.grid[0] * shape.grid[1]
    weights = sum(parameter.numel() for parameter in transformer.parameters() if parameter.ndim == 2)
    attentions = 2 * shape.depth
    # Forward, and backward to inputs and weights; attention: 2 products forward, 5 backward, S made anew included.
    linear = 3 * 2 * tokens * weights
    products = 7 * 2 * tokens**2 * shape.width * attentions
    return {"gflop": (linear + products) / 1e9, "entries_millions": attentions * shape.heads * tokens**2 / 1e6}


def measure(shape: Shape, repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """One line per way."""
    torch.manual_seed(0)
    transformer = CorrelationTransformer(shape, ("intra", "inter")).to(device)
    count = shape.grid[0] * shape.grid[1]
    tokens, reference = torch.randn(1, count, shape.channels, device=device), torch.randn(count, shape.channels)
    reference = reference.to(device)
    naive = copy.deepcopy(transformer)
    for module in (transformer, naive):
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
    calls = {
        "ours": lambda: ours(transformer, tokens, reference),
        "naive": lambda: naive_fod.accumulate_gradients(naive, tokens, reference, shape.grid),
    }
    peaks = {way: memory(call, device) for way, call in calls.items()}
    pairs = zip(transformer.parameters(), naive.parameters(), strict=True)
    differences = [float((one.grad - two.grad).abs().max()) for one, two in pairs if one.grad is not None]
    largest = max(float(parameter.grad.abs().max()) for parameter in naive.parameters() if parameter.grad is not None)
    times: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(repeats):
        for way, call in calls.items():
            times[way].append(seconds(call, device))
    medians = {way: statistics.median(values) for way, values in times.items()}
    return [
        {
            "tokens": f"{shape.grid[0]}x{shape.grid[1]}",
            "way": way,
            "peak_mib": peaks[way],
            "seconds": medians[way],
            "ratio_to_ours": medians[way] / medians["ours"],
            "gradient_difference": max(differences) / largest,
            **counted(transformer, shape),
        }
        for way in calls
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    side = 2048
    matrix = torch.rand(side, side, device=device)
    product = min(seconds(lambda: torch.mm(matrix, matrix), device) for _ in range(10))
    rate = 2 * side**3 / product / 1e9
    lines = [line for shape in SHAPES for line in measure(shape, options.repeats, device)]
    for line in lines:
        line["products_share"] = line["gflop"] / rate / line["seconds"]
    report = {"matrix_product_gflops": rate, "steps": lines}
    path = RESULTS / f"fod_step_{device.type}.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
