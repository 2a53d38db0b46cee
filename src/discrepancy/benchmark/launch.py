"""Starting the process of one trial, stopping it, and what to say when it does not come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from discrepancy.benchmark.store import LOCK, RESULT, Result, TrialStore
from discrepancy.benchmark.trial import TrialSpec
from discrepancy.locks import file_lock

LOG: Final = "run.log"
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


_running: dict[Path, subprocess.Popen[str]] = {}
_stopped: set[Path] = set()
_registry = threading.Lock()


def launch(spec: TrialSpec, environment: Mapping[str, str] | None = None) -> Result:
    """Run a trial in a process of its own; return its result, which lies on disk too.

    A trial that fails raises nothing: its result says so. Where another process, perhaps on another machine, is at this
    trial, this one waits and takes its result.

    Args:
        spec: of the trial.
        environment: variables besides this process's.
    """
    store = TrialStore(Path(spec.project) / spec.store)
    folder = store.root / spec.folder
    try:
        with file_lock(folder / LOCK):
            found = store.read(spec.folder)
            if found and found["state"] == "done" and found["fingerprint"] == spec.fingerprint:
                return found
            (folder / RESULT).unlink(missing_ok=True)  # what is read below is this run's
            code = _run(spec, folder, environment or {})
            if (result := store.read(spec.folder)) is not None:
                return result
    except OSError as error:
        return lost(spec, f"{type(error).__name__}: {error}")
    if _was_stopped(folder):
        return spec.result("failed", reason="stopped with the benchmark")  # not kept: the next start runs it
    return lost(spec, f"{_ending(code)}; see {folder / LOG}")


def lost(spec: TrialSpec, reason: str) -> Result:
    """Return the result of a trial that left none; it is kept on disk, if that can be written."""
    result = spec.result("failed", reason=reason)
    with suppress(OSError):
        TrialStore(Path(spec.project) / spec.store).write(spec.folder, result)
    return result


def stop(root: str) -> int:
    """Kill the trials that this process has started in the benchmark's folder `root`; return how many there were."""
    with _registry:
        mine = {folder: process for folder, process in _running.items() if folder.is_relative_to(root)}
        _stopped.update(mine)
    for process in mine.values():
        process.kill()
    return len(mine)


def _run(spec: TrialSpec, folder: Path, environment: Mapping[str, str]) -> int:
    """Run the process to its end; return its exit code."""
    variables = {**os.environ, **dict.fromkeys(_THREADS, str(spec.threads)), **environment}
    command = [sys.executable, "-m", "discrepancy.benchmark.trial", str(os.getpid())]
    with (folder / LOG).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True, env=variables
        )
        with _registry:
            _stopped.discard(folder)  # of an earlier time, when the process had just ended by itself
            _running[folder] = process
        try:
            process.communicate(spec.to_json())
        finally:
            with _registry:
                del _running[folder]
    return process.returncode


def _was_stopped(folder: Path) -> bool:
    with _registry:
        known = folder in _stopped
        _stopped.discard(folder)
    return known


def _ending(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"the process was ended by {name}{', as when memory runs out' if name == 'SIGKILL' else ''}"
