"""How fast training and scoring are at the papers' settings, and what a data set would take."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from discrepancy.detection.scoring import LazyScores
from discrepancy.devices import Precision
from gpu_checks.cases import Case, build_case, extraction_of, smooth_images, weights_at_hand
from gpu_checks.measure import counted_flops, forget_peak, peak, profiled, time_calls, training_step, wait
from gpu_checks.options import Options
from gpu_checks.precision import precision
from gpu_checks.settings import paper_parameters, small_parameters

LATENT = 398
"""Latent dimension of DFR: the mean of those published for twelve layers."""

MVTEC_TRAINING_IMAGES = 3448
"""Good training images of MVTec AD's 15 categories, those held out for thresholds taken off."""

BATCHES = 8
"""That are scored, at least."""

TIMED_STEPS = 24
"""Of a whole training, at least; an epoch before them warms up."""


def speed_case(options: Options, method: str) -> Case:
    """A method at the paper's settings, 256x256, random weights; tiny: small."""
    device = options.device.type
    if options.tiny:
        parameters = small_parameters(method, weights=weights_at_hand(), device=device)
        return build_case(
            method, parameters, smooth_images(options.images, options.side), folder=options.cache, device=options.device
        )
    latent = {"latent_dim": LATENT} if method == "dfr" else {}
    parameters = paper_parameters(method, weights="random", device=device, **latent)
    count = 8 * parameters.batch_size if parameters.batch_size > 1 else 32
    images = smooth_images(count, 256)
    return build_case(method, parameters, images, folder=options.cache, device=options.device)


def speed(options: Options, found: dict[str, Any]) -> None:
    """Of each method and precision: training steps, whole trainings, scoring."""
    found |= {"image_size": options.side if options.tiny else 256, "latent_dim": LATENT, "training": [], "scoring": []}
    found["extraction"] = []
    for method in options.methods:
        case = speed_case(options, method)
        found["extraction"].append(_extraction(case))
        for mode in options.precisions:
            found["training"].append(_training(options, case, mode))
        for mode in (mode for mode in options.precisions if mode != "bf16"):  # scoring has no autocast
            found["scoring"].extend(_scoring(options, case, mode))
        del case


def _extraction(case: Case) -> dict[str, Any]:
    """Images per second of the frozen network alone, and with statistics and writing."""
    batches = extraction_of(case).batches
    for _ in batches():  # warms up
        pass
    began = time.perf_counter()
    for _ in batches():
        pass
    seconds = time.perf_counter() - began
    count = len(case.images)
    stored = count / case.extraction_seconds
    return {
        "method": case.method,
        "images_per_second": count / seconds,
        "images_per_second_stored": stored,
        "mib_per_image": sum(array.nbytes for array in case.data.cached.values()) / count / 2**20,
    }


def _training(options: Options, case: Case, mode: Precision) -> dict[str, Any]:
    batch, optimiser = case.batch(0), case.optimiser()
    case.module.train()
    with precision(mode) as autocast:
        step = training_step(case, optimiser, batch, autocast)
        forget_peak(case.device)
        times = time_calls(step, case.device, seconds=0.02 if options.tiny else 1.5)
        memory = peak(case.device)
        flops = counted_flops(step)
        del step, optimiser
        whole = _whole_training(case, mode, 1 if options.tiny else TIMED_STEPS)
    size = case.parameters.batch_size
    line = {"method": case.method, "precision": mode, "batch_size": size, **times}
    line |= {"images_per_second": 1e3 * size / times["ms"], "tflop_per_step": flops / 1e12}
    line |= {"tflops": flops / 1e9 / times["ms"], **memory, **whole}
    return line


def _whole_training(case: Case, mode: Precision, timed: int) -> dict[str, Any]:
    """Images per second of the training loop, with the making of batches; and the CPU's seconds for each."""
    steps = math.ceil(len(case.images) / case.parameters.batch_size)
    epochs = 1 + math.ceil(timed / steps)
    settings = replace(case.parameters.training(1), epochs=epochs, precision=mode)
    cpu = time.process_time()
    history = case.fit(settings)
    seconds = sum(epoch.seconds for epoch in history[1:]) / (epochs - 1)
    used = (time.process_time() - cpu) / epochs
    return {"fit_images_per_second": len(case.images) / seconds, "fit_cpu_ms_per_image": 1e3 * used / len(case.images)}


def _scoring(options: Options, case: Case, mode: Precision) -> list[dict[str, Any]]:
    """Images per second of anomaly maps, from arrays to arrays."""
    lines = []
    case.change(precision=mode)
    case.detector.eval()
    for size in (1, 2) if options.tiny else (1, 32):
        # Several batches, as a GPU computes one while the results of another are copied.
        images = np.resize(case.images, (max(len(case.images), BATCHES * size), *case.images.shape[1:]))
        score = _scorer(case, images, size)
        score()
        forget_peak(case.device)
        wait(case.device)
        began = time.perf_counter()
        score()
        seconds = time.perf_counter() - began
        line = {"method": case.method, "precision": mode, "batch_size": size}
        lines.append(line | {"images_per_second": len(images) / seconds, **peak(case.device)})
    return lines


def _scorer(case: Case, images: NDArray[np.uint8], size: int) -> Callable[[], None]:
    def score() -> None:
        for _ in LazyScores(case.detector, images, case.device, size).pieces():
            pass

    return score


def profile(options: Options, found: dict[str, Any]) -> None:
    """Record what the device does in a step, and in scoring a batch.

    It comes after all that is timed, as a profiler slows launches until the end.
    """
    if options.device.type != "cuda":
        found["skipped"] = "kernels are those of a GPU"
        return
    found |= {"lines": [], "scoring": []}
    for method in options.methods:
        case = speed_case(options, method)
        case.module.train()
        for mode in options.precisions:
            with precision(mode) as autocast:
                seen = profiled(training_step(case, case.optimiser(), case.batch(0), autocast), case.device)
            found["lines"].append({"method": method, "precision": mode, **seen})
        case.detector.eval()
        for mode in (mode for mode in options.precisions if mode != "bf16"):
            case.change(precision=mode)
            seen = profiled(_scorer(case, case.images[:32], 32), case.device)
            found["scoring"].append({"method": method, "precision": mode, "images": len(case.images[:32]), **seen})


def projection(options: Options, found: dict[str, Any], speeds: dict[str, Any]) -> None:
    """Hours of training for the 15 categories of MVTec AD at the papers' epochs, from what was measured.

    Args:
        options: of the run.
        found: where the lines go.
        speeds: what `speed` found.
    """
    del options
    found |= {"training_images": MVTEC_TRAINING_IMAGES, "lines": []}
    for line in speeds["training"]:
        epochs = paper_parameters(line["method"], device="cpu").epochs
        passes = epochs * MVTEC_TRAINING_IMAGES
        found["lines"].append(
            {
                "method": line["method"],
                "precision": line["precision"],
                "epochs": epochs,
                "step_hours": passes / line["images_per_second"] / 3600,
                "fit_hours": passes / line["fit_images_per_second"] / 3600,
            }
        )


def free(options: Options) -> None:
    """Give back what the sections before have left on the device."""
    gc.collect()
    if options.device.type == "cuda":
        torch.cuda.empty_cache()
