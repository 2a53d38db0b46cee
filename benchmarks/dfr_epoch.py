"""What an epoch of DFR costs: from the cache, and as the authors' program goes about it, at the paper's sizes.

    python benchmarks/dfr_epoch.py [--device cpu] [--images 4] [--repeats 3]

VGG19 with random weights (the cost does not depend on them), twelve layers, 256x256, latent dimension 398 (the mean of
those published), batches of 4. Four ways, interleaved, on the same images:

    cache               features read from the cache, our autoencoder
    cache, plain        the same, but the network written plainly: 1x1 convolutions over joined features
    cache, bf16         as the first in mixed precision, features cached in float16: approximate
    extract             the authors' way: VGG19 run to its end, layers resized to 256x256, windows unfolded and averaged

    python benchmarks/dfr_epoch.py --widths         # only: what idle units bring, products at 2126 and 2128 columns

Operations are counted by PyTorch, and compared with a large matrix product timed in between. On a GPU also images per
second of training and of scoring. Writes benchmarks/results/dfr_epoch_<cpu or the GPU's name>.json, or dfr_widths_....
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from discrepancy.features.backbones import Backbone, build_backbone
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.dfr.autoencoder import Autoencoder
from discrepancy.methods.dfr.model import DFR, DFRTask
from discrepancy.methods.dfr.parameters import DEFAULT_LAYERS, DFRParameters
from discrepancy.methods.dfr.regions import build_regions

RESULTS = Path(__file__).parent / "results"
PRESETS: dict[str, dict[str, object]] = {
    "paper": {"alignment": "nearest", "batch_norm": False},
    "head": {"alignment": "bilinear_corners", "batch_norm": True},
}
SIZE, LATENT, BATCH = 256, 398, 4


class Authors(nn.Module):
    """The authors' way from images to regional features: everything by its definition, nothing left out."""

    def __init__(self, alignment: str) -> None:
        super().__init__()
        self.whole = build_backbone("vgg19", layers=[*DEFAULT_LAYERS["vgg19"], "relu5_4"], weights="random")
        corners = {"mode": "bilinear", "align_corners": True}
        self.mode = corners if alignment == "bilinear_corners" else {"mode": "nearest"}

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, 256, 256] -> [N, 3456, 64, 64]."""
        maps = self.whole(images)
        joined = None
        for layer in DEFAULT_LAYERS["vgg19"]:
            full = F.interpolate(maps[layer], (SIZE, SIZE), **self.mode)
            count, channels = full.shape[:2]
            means = F.unfold(full, 4, stride=4).view(count, channels, 16, -1).mean(2).view(count, channels, 64, 64)
            joined = means if joined is None else torch.cat([joined, means], 1)
        assert joined is not None
        return joined


def plain_autoencoder(batch_norm: bool) -> nn.Sequential:
    """The published network as 1x1 convolutions."""
    channels, middle = 3456, 2 * LATENT
    hidden = (channels + middle) // 2

    def block(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 1), *([nn.BatchNorm2d(b)] if batch_norm else []), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(channels, hidden), *block(hidden, middle), nn.Conv2d(middle, LATENT, 1), *block(LATENT, middle),
        *block(middle, hidden), nn.Conv2d(hidden, channels, 1),
    )  # fmt: skip


def prepare(images: np.ndarray, backbone: Backbone, parameters: DFRParameters, folder: Path) -> tuple[DFR, Features]:
    """Our detector, and the images' features in a cache."""
    regions = build_regions(backbone, parameters, (SIZE, SIZE))
    digests = [str(index) for index in range(len(images))]
    recipe = lazy_features(
        backbone, images, digests, reduction=regions, dtype=parameters.cache_dtype, device=parameters.device
    )
    features = FeatureCache(folder).get(recipe, progress=False)
    card = new_card(DFR, parameters, backbone, image_size=(SIZE, SIZE), data_digest="", latent_dim=LATENT)
    return DFR(backbone, parameters, card), features


def epochs(
    losses: Callable[[np.ndarray], Tensor], module: nn.Module, images: int, device: torch.device
) -> Callable[[], None]:
    """A function that makes one pass over the images in steps of Adam, and waits for the device."""
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-4, fused=device.type == "cuda")

    def run() -> None:
        for start in range(0, images, BATCH):
            loss = losses(np.arange(start, min(images, start + BATCH)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def ways(
    preset: str, images: np.ndarray, device: torch.device, folder: Path
) -> Iterator[tuple[str, Callable[[], None], DFR | None]]:
    """The four ways of training, each as a function that runs one epoch."""
    common = {"backbone": "vgg19", "standardise": False, "region": 4, "residuals": "raw", "by_position": False}
    parameters = DFRParameters(**common, **PRESETS[preset], device=str(device))
    half = parameters.model_copy(update={"cache_dtype": "float16", "precision": "bf16"})
    backbone = build_backbone("vgg19", layers=DEFAULT_LAYERS["vgg19"], weights="random")
    count = len(images)

    def ours(parameters: DFRParameters) -> tuple[Callable[[], None], DFR, DFRTask]:
        detector, features = prepare(images, backbone, parameters, folder)
        task = DFRTask(detector.to(device), TrainingData(images, features, count))

        def loss(rows: np.ndarray) -> Tensor:
            batch = {name: values.to(device) for name, values in task.batch(0, rows).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=parameters.precision == "bf16"):
                return task.loss(batch)

        detector.autoencoder.train()
        return epochs(loss, detector.autoencoder, count, device), detector, task

    exact, detector, task = ours(parameters)
    yield "cache", exact, detector

    regions = build_regions(backbone, parameters, (SIZE, SIZE)).to(device)
    network = plain_autoencoder(parameters.batch_norm).to(device)

    def plain(rows: np.ndarray) -> Tensor:
        kept = {name: values.to(device) for name, values in task.batch(0, rows).items()}
        joined = regions.joined(kept).permute(0, 3, 1, 2)
        return F.mse_loss(network(joined), joined)

    yield "cache, plain", epochs(plain, network, count, device), None
    yield "cache, bf16", ours(half)[0], None
    authors = Authors(parameters.alignment).to(device)

    def extract(rows: np.ndarray) -> Tensor:
        joined = authors(torch.from_numpy(images[rows]).to(device))
        return F.mse_loss(network(joined), joined)

    yield "extract", epochs(extract, network, count, device), None


def product_seconds(device: torch.device, side: int) -> float:
    """A large float32 matrix product."""
    matrix = torch.rand(side, side, device=device)
    return seconds(lambda: matrix @ matrix, device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def widths(device: torch.device, dtype: torch.dtype, repeats: int) -> list[dict[str, object]]:
    """Rates of the last layer's three products at the published width and at the next multiple of 8, interleaved."""
    rows, channels = 4 * 4096, 3456
    calls: dict[tuple[str, int], Callable[[], Tensor]] = {}
    for width in (2126, 2128):
        hidden = torch.rand(rows, width, device=device, dtype=dtype)
        weight = torch.rand(channels, width, device=device, dtype=dtype)
        residual = torch.rand(rows, channels, device=device, dtype=dtype)
        calls["output", width] = lambda z=hidden, w=weight: F.linear(z, w)
        calls["gradient of input", width] = lambda r=residual, w=weight: r @ w
        calls["gradient of weights", width] = lambda r=residual, z=hidden: r.T @ z
    times: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    for _ in range(repeats + 1):
        for key, call in calls.items():
            times[key].append(seconds(call, device))
    rates = {key: 2 * rows * channels * key[1] / statistics.median(taken[1:]) / 1e9 for key, taken in times.items()}
    return [
        {
            "product": name,
            "type": str(dtype).removeprefix("torch."),
            "2126": rates[name, 2126],
            "2128": rates[name, 2128],
        }
        for name in dict.fromkeys(name for name, _ in calls)
    ]


def scoring(detector: DFR, device: torch.device) -> dict[str, float]:
    """Images per second at batch 1, and 32 on a GPU."""
    rates = {}
    detector.eval()
    for batch in (1,) if device.type == "cpu" else (1, 32):
        images = torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8, device=device)
        with torch.inference_mode():
            detector(images)
            repeats = 2 if device.type == "cpu" else 50
            taken = seconds(lambda images=images, n=repeats: [detector(images) for _ in range(n)], device)
        rates[f"scored_images_per_second_batch_{batch}"] = batch * repeats / taken
    return rates


def measure(preset: str, images: np.ndarray, repeats: int, device: torch.device) -> Mapping[str, object]:
    """Seconds of each way's epoch, interleaved, and their ratios to the first."""
    side = 4096 if device.type == "cpu" else 16384
    with tempfile.TemporaryDirectory() as folder:
        list_of_ways = list(ways(preset, images, device, Path(folder)))
        flops, times, products = {}, {name: [] for name, _, _ in list_of_ways}, []
        for name, run, _ in list_of_ways:  # the first pass counts and warms up
            with FlopCounterMode(display=False) as counter:
                run()
            flops[name] = counter.get_total_flops()
        for _ in range(repeats):
            for name, run, _ in list_of_ways:
                times[name].append(seconds(run, device))
            products.append(product_seconds(device, side))
        rates = scoring(list_of_ways[0][2], device) if list_of_ways[0][2] else {}
    rate = 2 * side**3 / statistics.median(products) / 1e9
    rows = [
        {
            "way": name,
            "seconds_per_image": statistics.median(taken) / len(images),
            "ratio_to_cache": statistics.median(taken) / statistics.median(times["cache"]),
            "gflop_per_image": flops[name] / len(images) / 1e9,
            "gflop_per_second": flops[name] / statistics.median(taken) / 1e9,
            # of a product in float32, which mixed precision may exceed
            "share_of_matrix_product": flops[name] / statistics.median(taken) / 1e9 / rate,
        }
        for name, taken in times.items()
    ]
    return {"preset": preset, "ways": rows, "matrix_product_gflop_per_second": rate, **rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=8, help="in an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--widths", action="store_true", help="only the products at 2126 and 2128 columns")
    options = parser.parse_args()
    device = torch.device(options.device)
    images = np.random.default_rng(0).integers(0, 256, (options.images, 3, SIZE, SIZE), dtype=np.uint8)
    name = "cpu" if device.type == "cpu" else re.sub(r"\W+", "_", torch.cuda.get_device_name(device)).lower()
    if options.widths:
        rates = [row for dtype in (torch.float32, torch.bfloat16) for row in widths(device, dtype, options.repeats)]
        (RESULTS / f"dfr_widths_{name}.json").write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
        return
    report = {
        "device": name,
        "threads": torch.get_num_threads(),
        "images": options.images,
        "latent_dim": LATENT,
        "parameters": sum(p.numel() for p in Autoencoder(3456, LATENT, batch_norm=False).parameters()),
        "presets": [measure(preset, images, options.repeats, device) for preset in PRESETS],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if device.type == "cuda":
        report["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    (RESULTS / f"dfr_epoch_{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
