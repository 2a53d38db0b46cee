"""The most memory that a run has taken, by the processes that share its training too."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import torch


@dataclass(frozen=True)
class GPUPeak:
    """The most memory that one process has taken of a GPU, bytes.

    Attributes:
        allocated: by tensors.
        reserved: by PyTorch, from which it serves tensors: what `nvidia-smi` shows, but for CUDA's own.
    """

    allocated: int = 0
    reserved: int = 0

    @classmethod
    def of_process(cls) -> Self:
        """Return that of this process: on the GPU that it used most; 0 without one."""
        gpus = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
        return cls(
            max(map(torch.cuda.max_memory_allocated, gpus), default=0),
            max(map(torch.cuda.max_memory_reserved, gpus), default=0),
        )


_children: Final[list[GPUPeak]] = []
"""Peaks of the processes that this one has started, since `reset_peaks`."""


def reset_peaks() -> None:
    """Begin anew, for a further run in this process. A process's memory beside the GPU's cannot be reset."""
    _children.clear()
    for gpu in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        torch.cuda.reset_peak_memory_stats(gpu)


def leave_peak(folder: Path, name: str) -> None:
    """Write this process's peak to a folder, for the process that started it."""
    (folder / f"{name}.json").write_text(json.dumps(asdict(GPUPeak.of_process())), encoding="utf-8")


def take_peaks(folder: Path) -> None:
    """Count what processes have left in a folder."""
    _children.extend(GPUPeak(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json")))


def peak_memory() -> dict[str, float]:
    """Return the peaks since the run began, MiB: of the largest process.

    `peak_memory_mib` is resident memory; a GPU adds `peak_gpu_memory_mib`, that of tensors, and
    `peak_gpu_reserved_mib`, what PyTorch holds of the GPU for them.
    """
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    found = {"peak_memory_mib": largest / 1024}
    if torch.cuda.is_available():
        peaks = [GPUPeak.of_process(), *_children]
        found["peak_gpu_memory_mib"] = max(peak.allocated for peak in peaks) / 2**20
        found["peak_gpu_reserved_mib"] = max(peak.reserved for peak in peaks) / 2**20
    return found
