"""Starting the process of one cell, and what to say when it does not come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from discrepancy.benchmark.cell import Task
from discrepancy.benchmark.store import RESULT, CellStore, Result

LOG: Final = "run.log"
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def launch(task: Task, environment: Mapping[str, str] | None = None) -> Result:
    """Run a cell in a process of its own; its result, which lies on disk too. Never raises for a cell that fails.

    Args:
        task: the cell.
        environment: variables besides this process's.
    """
    store = CellStore(Path(task.project) / task.store)
    folder = store.root / task.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)  # of other parameters, or a failure: what is read below is this run's
    variables = {**os.environ, **dict.fromkeys(_THREADS, str(task.threads)), **(environment or {})}
    command = [sys.executable, "-m", "discrepancy.benchmark.cell", str(os.getpid())]
    with (folder / LOG).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True, env=variables
        )
        process.communicate(task.to_json())
    result = store.read(task.folder)
    if result is None:
        result = task.result("failed", reason=f"{_ending(process.returncode)}; see {folder / LOG}")
        store.write(task.folder, result)
    return result


def _ending(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"the process was ended by {name}{', as when memory runs out' if name == 'SIGKILL' else ''}"
