"""The state of a training on disk: one file, replaced as a whole, and restored only if every part of it fits."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from discrepancy.atomic import replacing
from discrepancy.errors import InputError
from discrepancy.features.weights import tensor_faults

logger = logging.getLogger(__name__)

SHARE: Final = 0.05
"""Largest share of the time in which checkpoints are written."""
LONGEST: Final = 600.0
"""Seconds after which one is written in any case: a disk may have been slow once only."""
QUICK: Final = 0.2
"""Seconds of writing that do not matter."""


class Checkpoint:
    """The last good state of a training run, in one file that is replaced as a whole.

    Args:
        path: the file.
        fingerprint: names everything that determines the result (parameters, data, backbone); a file with another
            fingerprint belongs to another run and is not taken up.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint

    def load(self) -> dict | None:
        """Return the stored state; None if there is none, it belongs to another run, or it cannot be read.

        Raises:
            InputError: something that is no file lies in its place, where no checkpoint could be written either.
        """
        if not self.path.exists():
            return None
        if not self.path.is_file():
            raise InputError(f"{self.path}: no plain file; expected a checkpoint, or nothing: move it away")
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"it holds a {type(state).__name__}")
        except Exception as error:  # a damaged file of any kind means: start at the beginning
            self.discard(error)
            return None
        if state.get("fingerprint") != self.fingerprint:
            logger.info("training: the checkpoint on disk belongs to other parameters or data; starting anew")
            return None
        os.utime(self.path)  # taken up: from now on it is this run's
        return state

    def discard(self, error: Exception) -> None:
        """Log that the file cannot be used; the next `save` replaces it."""
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        logger.warning(
            "training: checkpoint %s cannot be used (%s); starting at the beginning", self.path, reason[:200]
        )

    def save(self, state: dict) -> None:
        """Write beside the old file, then replace it: a kill leaves one or the other.

        Raises:
            InputError: the disk has no room, or refuses to be written.
        """
        content = BytesIO()  # PyTorch's own writer hides the system's error for a full disk
        torch.save({"fingerprint": self.fingerprint, **state}, content)
        try:
            with replacing(self.path) as temporary:
                temporary.write_bytes(content.getbuffer())
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror or error}); expected a place with room for it"
            ) from error


class CheckpointPace:
    """Keeps the writing of large checkpoints to a small share of the time; small ones are written whenever asked for.

    A state of half a gigabyte takes a second to write, and an epoch on a GPU may take no longer.
    """

    def __init__(self) -> None:
        self._took = 0.0
        self._ended = 0.0

    def due(self) -> bool:
        """Return whether a checkpoint may be written now."""
        since = time.monotonic() - self._ended
        return self._took < QUICK or since > LONGEST or self._took <= SHARE * (since + self._took)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Note how long the block takes to write one."""
        began = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._took = self._ended - began


def take_up(state: Mapping[str, Any], module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Restore a stored state into module and optimiser: all of it, or nothing.

    Learning rate, decay and the like are not taken from it: the settings decide them.

    Raises:
        ValueError: a part is missing, or is not of this module and this kind of optimiser.
    """
    stored, moments = state.get("module"), _moments(state.get("optimiser"))
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ValueError("its module is no table of tensors")
    if faults := tensor_faults(stored, module.state_dict()):
        raise ValueError(f"its module has {faults}")
    groups = optimiser.state_dict()["param_groups"]
    if isinstance(optimiser, torch.optim.Adam):
        _check_moments(moments, [parameter for group in optimiser.param_groups for parameter in group["params"]])
    module.load_state_dict(stored)
    optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _moments(stored: Any) -> dict[int, dict[str, Tensor]]:
    moments = stored.get("state") if isinstance(stored, Mapping) else None
    if not isinstance(moments, dict) or not all(isinstance(entry, dict) for entry in moments.values()):
        raise ValueError("its optimiser is no table of moments")
    return moments


def _check_moments(moments: Mapping[int, Mapping[str, Tensor]], parameters: list[nn.Parameter]) -> None:
    """Check Adam's moments of each parameter that has had a gradient; the count of steps is a single number."""
    for index, entry in moments.items():
        if index not in range(len(parameters)):
            raise ValueError(f"its optimiser has moments of parameter {index!r}")
        values = parameters[index].detach()
        wanted = {"step": torch.zeros(()), "exp_avg": values, "exp_avg_sq": values}
        if not all(isinstance(value, Tensor) for value in entry.values()):
            raise ValueError(f"its optimiser has moments of parameter {index} that are no tensors")
        if faults := tensor_faults(entry, wanted):
            raise ValueError(f"its optimiser has, of parameter {index}, {faults}")
