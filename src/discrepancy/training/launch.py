"""Training in several processes on one machine: one per GPU, or on a CPU with an equal part of the threads each.

The step that trains starts them itself (`torch.distributed.launcher.elastic_launch`) and waits. All run the same
function on the same arguments; `fit` sees that it is in a group and takes its shard. Their result is the finished
checkpoint: the step then restores it like any other, and no tensor travels between processes.

Arrays and features go to them as paths and are memory-mapped there.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from discrepancy.devices import check_processes, resolve_device
from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.derived import FeatureLayers, with_layers
from discrepancy.features.entry import FeatureRows
from discrepancy.peak_memory import leave_peak, take_peaks
from discrepancy.training.loop import DivergedError
from discrepancy.training.process_group import LostError, ProcessGroup, join_group

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

PATIENCE = timedelta(hours=2)
"""Longest wait of one process for another: the first one validates, and may score test images, meanwhile."""

GRACE = 60
"""Seconds for which a process that lost another one waits to be ended, so that the lost one is named as the cause."""

THEMSELVES = {kind.__name__: kind for kind in (InputError, DivergedError)}
"""Errors that reach the user unchanged, from any process."""


class LostProcessError(RuntimeError):
    """A process of the training was killed, or failed in a way that is a fault of the program."""


def run_distributed(
    processes: int, device: str, function: Callable[..., Any], arguments: tuple[Any, ...], *, threads: int | None = None
) -> None:
    """Run a training function in several processes, leaving its finished checkpoint; with one process do nothing.

    Args:
        processes: number of processes.
        device: `cpu` (gloo), `cuda` (nccl, process i gets the i-th GPU and sees no other), or `auto`.
        function: calls `fit` with a checkpoint; defined at the top level of a module, its result is dropped.
        arguments: of the function; small, except `Features` and the first rows of memory-mapped `.npy` files.
        threads: of PyTorch on the CPU, in each process; by default an equal share of this process's.

    Raises:
        InputError: as the function raises it, in any process.
        DivergedError: likewise.
        LostProcessError: a process was killed, or failed otherwise. The last checkpoint is kept.
    """
    check_processes(processes, device)
    if processes == 1:
        return
    on_gpu = resolve_device(device).type == "cuda"
    task = _Task(
        function=function,
        arguments=tuple(_as_path(argument) for argument in arguments),
        backend="nccl" if on_gpu else "gloo",
        threads=threads or max(1, torch.get_num_threads() // processes),
        level=logging.getLogger("discrepancy").getEffectiveLevel(),
    )
    logger.info("training: %d processes together (%s)", processes, task.backend)
    _launch(task, processes, on_gpu=on_gpu)


@dataclass(frozen=True)
class _Task:
    """The work of each process; it is pickled on the way there."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    backend: str
    threads: int
    level: int
    peaks: Path | None = None
    """Folder where each process leaves what memory it took."""


@dataclass(frozen=True)
class _FeaturesAt:
    root: Path
    fingerprint: str
    order: np.ndarray | None = None

    def open(self) -> Features:
        features = FeatureCache(self.root).open(self.fingerprint, checked=True)
        return features if self.order is None else features.rows(self.order)


@dataclass(frozen=True)
class _LayersAt:
    whole: _FeaturesAt
    layers: tuple[str, ...]

    def open(self) -> Features:
        return with_layers(self.whole.open(), self.layers)


@dataclass(frozen=True)
class _ArrayAt:
    path: Path
    inode: int | None
    rows: int

    def open(self) -> np.ndarray:
        array: np.ndarray = np.lib.format.open_memmap(self.path, mode="r")
        if self.inode not in {None, self.path.stat().st_ino}:
            raise InputError(f"{self.path} was replaced by another run meanwhile; expected to train alone: start again")
        return array[: self.rows]


def _as_path(argument: Any) -> Any:
    """Replace large objects on disk by their paths, also inside dataclasses and mappings."""
    if isinstance(argument, FeatureLayers):
        return _LayersAt(_as_path(argument.whole), tuple(argument))
    if isinstance(argument, FeatureRows):
        return _FeaturesAt(argument.path.parent.resolve(), argument.whole.fingerprint, argument.order)
    if isinstance(argument, Features):
        return _FeaturesAt(argument.path.parent.resolve(), argument.fingerprint)
    if isinstance(argument, np.memmap) and (whole := _mapped(argument)) is not None:
        return _ArrayAt(Path(str(whole.filename)), getattr(whole, "inode", None), len(argument))
    return _inside(argument, _as_path)


def _opened(argument: Any) -> Any:
    """Undo `_as_path`."""
    if isinstance(argument, _FeaturesAt | _LayersAt | _ArrayAt):
        return argument.open()
    return _inside(argument, _opened)


def _inside(argument: Any, change: Callable[[Any], Any]) -> Any:
    if is_dataclass(argument) and not isinstance(argument, type):
        return replace(argument, **{entry.name: change(getattr(argument, entry.name)) for entry in fields(argument)})
    if type(argument) is dict:
        return {key: change(value) for key, value in argument.items()}
    return argument


def _mapped(array: np.memmap) -> np.memmap | None:
    """Return the whole mapped array whose first rows `array` is; None if it is anything else."""
    whole: Any = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    same = whole.ctypes.data == array.ctypes.data and whole.shape[1:] == array.shape[1:]
    return whole if same and whole.strides == array.strides and isinstance(whole.base, mmap) else None


def _launch(task: _Task, processes: int, *, on_gpu: bool) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    interrupted = None
    with tempfile.TemporaryDirectory(prefix="discrepancy-") as notes, _own_signals(), _quiet_launcher():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{LOOPBACK}:0",
            local_addr=LOOPBACK,
            start_method="spawn",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=notes),
            virtual_local_rank=on_gpu,
        )
        peaks = Path(notes) / "peaks"
        peaks.mkdir()
        try:
            elastic_launch(config, _work)(replace(task, peaks=peaks))
            take_peaks(peaks)
        except ChildFailedError as error:
            raise _cause(error, processes) from None
        except SignalException as caught:
            interrupted = caught
    if interrupted:  # all processes have ended: now what the signal does where nobody catches it
        signal.raise_signal(interrupted.sigval)
        raise interrupted


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore the previous signal handlers: the launcher installs its own and keeps them."""
    taken = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in taken}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere nothing could be taken
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's


@contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Silence the launcher's log, which repeats every error with its traceback; the error raised here says enough."""
    launcher = logging.getLogger("torch.distributed.elastic")
    silent = logging.NullHandler()
    propagate, launcher.propagate = launcher.propagate, False
    launcher.addHandler(silent)
    try:
        yield
    finally:
        launcher.removeHandler(silent)
        launcher.propagate = propagate


def _cause(error: ChildFailedError, processes: int) -> Exception:
    """Return the error of the process that failed first, unchanged if users know it."""
    rank, failure = error.get_first_failure()
    who = f"training: process {rank + 1} of {processes}"
    if failure.exitcode < 0:
        return LostProcessError(
            f"{who} was ended by {failure.signal_name()}, and the others with it (the system ends processes so when "
            "memory is short). The last checkpoint is kept, the same command goes on from there"
        )
    note = failure.error_file_data.get("message")
    if not isinstance(note, dict):
        return LostProcessError(f"{who} ended with exit code {failure.exitcode}; what it had to say is above")
    name, _, message = str(note["message"]).partition(": ")
    if name in THEMSELVES:
        return THEMSELVES[name](message)
    return LostProcessError(f"{who} failed:\n{note['extraInfo']['py_callstack']}")


def _work(task: _Task) -> None:
    """Run one process, from its start to its end."""
    group = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    logging.basicConfig(level=task.level if group.is_main else logging.ERROR, format="%(message)s")
    torch.set_num_threads(task.threads)
    gpu = torch.device("cuda", 0) if task.backend == "nccl" else None  # the only one that this process sees
    dist.init_process_group(task.backend, timeout=PATIENCE, device_id=gpu)
    join_group(group)
    try:
        task.function(*map(_opened, task.arguments))
        if task.peaks is not None:
            leave_peak(task.peaks, str(group.rank))
    except LostError:
        time.sleep(GRACE)
        raise
    dist.destroy_process_group()
