"""The choices behind the defaults, each with and without it, on several parts: no test image is looked at.

    python benchmarks/choices_study.py --data ../photographs [--methods dfc,committee] [--parts cable,cookies]
                                       [--device cuda --workers 15]

Of the good training images (100 at most) 60 % are trained on, 4 are for validation, and the others are held out: as
they are, and in four copies each with a painted defect. The parts are the demo's three, and the cable under varying
exposure (each photograph times 0.35 to 1). Below `--data` there may be `kolektorsdd` (taken at half its resolution),
`cookies` and `elpv`, in MVTec AD's layout. What is done stays done: a killed study goes on. Writes
benchmarks/results/choices_study.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from variants import VALIDATION, fit_variant, judge

from discrepancy.atomic import replacing
from discrepancy.data.images import ResizeCrop, decode_image
from discrepancy.data.lazy_array import usable_cores
from discrepancy.demo import render_category

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "benchmarks/results/choices_study.json"
DEMO = ("cable", "gear", "weave")
PARTS = (*DEMO, "cable_exposure", "kolektorsdd", "cookies", "elpv")
SIZES = {"kolektorsdd": (320, 128)}
MOST_IMAGES = 100
PAINTINGS = 4
UNSHIFTED = {"position_shift": 0}
"""Parameters of the variants that take what is usual at each position from the images as they are."""
ERRORS = {
    "default": {},
    "unshifted": UNSHIFTED,
    "unshifted, without content, maximum": UNSHIFTED | {"by_content": 0.0, "peak_share": 0.0},
    "unshifted, all by content": UNSHIFTED | {"by_content": 1.0},
    "unshifted, all by content, maximum": UNSHIFTED | {"by_content": 1.0, "peak_share": 0.0},
}
LARGER = {
    "lite2": {"backbone": "tf_efficientnet_lite2"},
    "320 px": {"side": 320},
}
LAYERS = {
    "with stride 4": {"layers": ["blocks.1", "blocks.2", "blocks.4"]},
    "with stride 32": {"layers": ["blocks.2", "blocks.4", "blocks.6"]},
}
CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "dfc": ERRORS
    | {"unshifted, without content": UNSHIFTED | {"by_content": 0.0}}
    | {
        f"unshifted, all by content, {name}": UNSHIFTED | {"by_content": 1.0} | changes
        for name, changes in LARGER.items()
    },
    "committee": {
        "default": {},
        "equal weights": {"weighing": "equal"},
        "padim + patchcore": {"members": ["padim", "patchcore"]},
        "padim + patchcore, equal": {"members": ["padim", "patchcore"], "weighing": "equal"},
        "dfc + patchcore": {"members": ["dfc", "patchcore"]},
        "dfc + patchcore, equal": {"members": ["dfc", "patchcore"], "weighing": "equal"},
    },
    "padim": {"default": {}}
    | {name: {"augmentation": name} for name in ("none", "flips", "rotations")}
    | LARGER
    | LAYERS,
    "patchcore": {
        "default": {},
        "1 %, out of all": {"smallest_memory": 1, "candidates": None},
        "5,000": {"smallest_memory": 5000},
    }
    | LARGER
    | LAYERS,
    "dfr": ERRORS,
    "fod": ERRORS,
}
LEARNT_ALIKE = frozenset({"peak_share", "by_content", "position_shift", "weighing", "members"})
"""Variants that differ in these only take up the same checkpoints."""

logger = logging.getLogger("choices_study")


@dataclass(frozen=True)
class Job:
    """Variants, by method and name, of which one is trained and the others take up its checkpoint."""

    part: str
    state: str
    variants: tuple[tuple[str, str], ...]


def good_images(root: Path, part: str, side: int = 256, most: int | None = MOST_IMAGES) -> NDArray[np.uint8]:
    """Return good training images in random order, uint8 [N, 3, H, W]; `side` for 256 px, at most so many."""
    name = part.removesuffix("_exposure")
    folder = render_category(ROOT / "data/01_raw/demo", name) if name in DEMO else root / name
    paths = sorted(path for path in (folder / "train/good").iterdir() if path.is_file())
    rng = np.random.default_rng(0)
    paths = [paths[index] for index in rng.permutation(len(paths))[:most]]
    height, width = SIZES.get(part, (256, 256))
    size = ResizeCrop((height * side // 256, width * side // 256))
    images = np.stack([decode_image(path, size) for path in paths])
    if part == name:
        return images
    gains = np.exp(rng.uniform(np.log(0.35), 0.0, (len(images), 1, 1, 1)))
    return np.round(images * gains).astype(np.uint8)


def jobs_of(parts: Sequence[str], methods: Sequence[str], done: set[tuple[str, str, str]]) -> list[Job]:
    """Return what is to be done, those variants together that share a training; the longest jobs first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for part in parts:
        for method in methods:
            for name, changes in CHOICES[method].items():
                deciding = {key: value for key, value in changes.items() if key not in LEARNT_ALIKE}
                # A committee's member finds the checkpoint of DFC's default.
                owner = "dfc" if method == "committee" else method
                if (part, method, name) not in done:
                    groups.setdefault((part, f"{_digest(deciding)}.{owner}"), []).append((method, name))
    jobs = [Job(part, state, tuple(variants)) for (part, state), variants in groups.items()]
    return sorted(jobs, key=lambda job: -len(job.variants))


def _digest(changes: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]


def run(job: Job, root: Path, cache: Path, device: str) -> list[dict[str, Any]]:
    """Fit and judge the variants of a job; return a row of each."""
    return [_row(job, method, name, root, cache, device) for method, name in job.variants]


def _row(job: Job, method: str, name: str, root: Path, cache: Path, device: str) -> dict[str, Any]:
    changes = dict(CHOICES[method][name])
    side = changes.pop("side", 256)
    images = good_images(root, job.part, side)
    train = int(0.6 * len(images))
    state = job.state.removesuffix(".dfc") if method == "committee" else job.state
    began = time.perf_counter()
    detector, _ = fit_variant(
        method,
        {"pooling": "max", **changes},
        images[: train + VALIDATION],
        train,
        cache / f"{job.part}_{side}",
        state,
        device,
    )
    seconds = time.perf_counter() - began
    values = judge(detector, images[train + VALIDATION :], PAINTINGS, device)
    numbers = {**{metric: round(value, 4) for metric, value in values.items()}, "seconds": round(seconds, 1)}
    return {"part": job.part, "images": len(images), "method": method, "variant": name, **numbers}


def study(root: Path, parts: Sequence[str], methods: Sequence[str], device: str, workers: int) -> None:
    """Fill in what is missing in the report."""
    found = json.loads(REPORT.read_text()) if REPORT.is_file() else []
    jobs = jobs_of(parts, methods, {(row["part"], row["method"], row["variant"]) for row in found})
    for part in {job.part.removesuffix("_exposure") for job in jobs} & set(DEMO):
        render_category(ROOT / "data/01_raw/demo", part)
    with tempfile.TemporaryDirectory() as cache:
        task = partial(run, root=root, cache=Path(cache), device=device)
        for rows in _results(task, jobs, workers):
            for row in rows:
                logger.info("%s", row)
            found.extend(rows)
            with replacing(REPORT) as path:
                path.write_text(json.dumps(sorted(found, key=_place), indent=1) + "\n", encoding="utf-8")


def _results(task: Any, jobs: Sequence[Job], workers: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each job as it ends; an error waits until the others have ended.

    Raises:
        RuntimeError: a job failed.
    """
    failed = []
    threads = max(1, usable_cores() // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (threads,)) as pool:
        waiting = {pool.submit(task, job): job for job in jobs}
        for future in as_completed(waiting):
            if error := future.exception():
                logger.error("%s failed", waiting[future], exc_info=error)
                failed.append(waiting[future])
            else:
                yield future.result()
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(jobs)} jobs failed, {failed[0]} the first; started again, they run")


def _place(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return where the row belongs, by the order of parts, methods and variants above; unknown variants go last."""
    method = str(row["method"])
    variants = [*CHOICES[method], row["variant"]]
    return PARTS.index(row["part"]), list(CHOICES).index(method), variants.index(row["variant"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real parts")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--methods", default=",".join(CHOICES))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study(options.data, options.parts.split(","), options.methods.split(","), options.device, options.workers)


if __name__ == "__main__":
    main()
