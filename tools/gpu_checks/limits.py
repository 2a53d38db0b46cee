"""What a user is told where the device's memory is short, and of devices that are not there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch

from discrepancy.detection.scoring import LazyScores
from discrepancy.devices import resolve_device
from gpu_checks.cases import Case
from gpu_checks.measure import forget_peak
from gpu_checks.options import Options
from gpu_checks.settings import default_parameters
from gpu_checks.speed import speed_case

LEFT = 64 * 2**20
"""Bytes that a training is left beyond what its weights take."""


def devices(options: Options, found: dict[str, Any]) -> None:
    """Record what each name of a device comes to."""
    del options
    names = ("auto", "cpu", "cuda", "cuda:0", "cuda:7", "cuda:x", "gpu")
    found["resolve_device"] = {name: outcome(lambda name=name: str(resolve_device(name))) for name in names}
    found["parameters"] = {
        name: outcome(lambda name=name: default_parameters("dfr", device=name).device) for name in names
    }
    found["a_tensor_on_it"] = {
        name: outcome(lambda name=name: str(torch.zeros(1, device=resolve_device(name)).device)) for name in names
    }


def memory(options: Options, found: dict[str, Any]) -> None:
    """Record what training and scoring do when the device's memory is too small, by little and by much."""
    if options.device.type != "cuda":
        found["skipped"] = "the memory of a GPU can be limited"
        return
    found["lines"] = []
    for method in options.methods:
        case = speed_case(options, method)
        case.change(epochs=1)
        kept = sum(values.nbytes for values in (getattr(case.task, "resident", None) or {}).values())
        del case.task  # its features make room for those of the trainings
        found["lines"].extend(_lines(case, "training", lambda: _train(case), options, kept))  # noqa: B023
        found["lines"].extend(_lines(case, "scoring", lambda: _score(case), options, 0))  # noqa: B023


def _train(case: Case) -> str:
    case.detector.to("cpu")  # where a run builds it
    return f"{len(case.detector.train_network(case.data))} epoch"


def _score(case: Case) -> str:
    pieces = [len(piece.maps) for piece in LazyScores(case.detector, case.images, case.device, 32).pieces()]
    return f"{sum(pieces)} images, at most {max(pieces)} at a time"


def _lines(
    case: Case, what: str, action: Callable[[], object], options: Options, kept: int
) -> Iterator[dict[str, Any]]:
    """The outcome with half of the features, or of the images, too much for the memory, and with next to none of it."""
    least, most = _needed(action, options.device)
    limits = {"a little": most - kept / 2 if kept else (least + most) / 2, "much": least + LEFT}
    for lacking, limit in limits.items():
        outcome = limited(action, limit, options.device)
        yield {"method": case.method, "what": what, "lacking": lacking, "outcome": outcome}


def _needed(action: Callable[[], object], device: torch.device) -> tuple[int, int]:
    """Bytes allocated before an action, and the most taken from the device during it."""
    forget_peak(device)
    before = torch.cuda.memory_allocated(device)
    action()
    return before, torch.cuda.max_memory_reserved(device)


def limited(action: Callable[[], object], limit: float, device: torch.device) -> str:
    """The outcome of an action that may take no more than some bytes, and what it logged."""
    forget_peak(device)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("discrepancy")
    logger.addHandler(handler)
    logging.disable(logging.NOTSET)
    logger.setLevel(logging.INFO)
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory, device)
    try:
        result = outcome(action)
        return " | ".join([*said, result])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        logging.disable(logging.WARNING)
        logger.removeHandler(handler)


def outcome(action: Callable[[], object]) -> str:
    """Return what an action returns, or the type and the words of what it raises."""
    try:
        return str(action())
    except Exception as error:  # whatever it is, it is what a user would see
        return f"{type(error).__name__}: {str(error)[:400]}"
