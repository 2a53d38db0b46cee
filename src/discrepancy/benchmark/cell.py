"""One cell in a process of its own: `python -m discrepancy.benchmark.cell` reads a task from its standard input.

A process per cell: its peak memory is its own, a crash takes nothing else along, and a cell gives the same numbers
whether it is run alone, beside others or on another machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import chdir, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from discrepancy.benchmark.configuration import resolved
from discrepancy.benchmark.plan import Cell, Settings
from discrepancy.benchmark.store import CellStore, Result
from discrepancy.errors import InputError
from discrepancy.explanation import explanation

ARRAYS = ("03_primary", "04_feature", "07_model_output")
"""What a finished cell does not need any more: gigabytes for a large data set."""


@dataclass(frozen=True)
class Task:
    """All that a process needs to know of a cell; JSON values, so that it can be sent anywhere.

    Attributes:
        project: the project's folder, on the machine that runs the cell.
        store: the benchmark's folder, relative to the project's.
        folder: the cell's, below that.
        dataset: how the photographs are laid out.
        category: the part.
        method: the pipeline.
        seed: of splits and training.
        params: `--params` besides, nested.
        env: Kedro's environment.
        threads: for PyTorch's products.
        fingerprint: of the cell and its settings.
        parent: MLflow's run that this one belongs to; None for none.
        keep_arrays: leave images, features' pointers and anomaly maps on disk.
    """

    project: str
    store: str
    folder: str
    dataset: str
    category: str
    method: str
    seed: int
    params: dict[str, Any]
    env: str | None
    threads: int
    fingerprint: str
    parent: str | None
    keep_arrays: bool = False

    def result(self, state: str, *, reason: str = "", seconds: float = 0.0, **more: Any) -> Result:
        """The result of this cell."""
        index = {name: getattr(self, name) for name in ("dataset", "category", "method", "seed", "fingerprint")}
        return {**index, "state": state, "reason": reason, "seconds": seconds, **more}

    def to_json(self) -> str:
        """As text, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The task that `to_json` wrote."""
        return cls(**json.loads(text))


def run(task: Task) -> Result:
    """Run the cell in this process and keep its result."""
    import torch

    torch.set_num_threads(task.threads)
    began = time.perf_counter()
    store = CellStore(Path(task.project) / task.store)
    try:
        found = _session(task, store)
        result = task.result("done", seconds=time.perf_counter() - began, **found)
    except Exception as error:  # whatever it is, the other cells go on, and the table says what it was
        reason = explanation(error) or f"{type(error).__name__}: {error}"
        store.write(task.folder, task.result("failed", reason=reason, seconds=time.perf_counter() - began))
        raise
    if not task.keep_arrays:
        for name in ARRAYS:
            shutil.rmtree(store.work(task.folder) / name, ignore_errors=True)
    store.write(task.folder, result)
    return result


def _session(task: Task, store: CellStore) -> dict[str, Any]:
    """What a whole Kedro run of the cell gives: metrics, where its report lies, MLflow's run."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.runner import SequentialRunner

    project = Path(task.project)
    if task.parent:
        os.environ["MLFLOW_PARENT_RUN_ID"] = task.parent
    bootstrap_project(project)
    _check_configuration(task, project)
    given = {
        **task.params,
        "dataset": task.dataset,
        "category": task.category,
        "seed": task.seed,
        "data_folder": store.work(task.folder).relative_to(project).as_posix(),
    }
    session: Any = KedroSession.create(project_path=project, env=task.env, runtime_params=given)
    with chdir(project), session:
        session.run(pipeline_names=[task.method], runner=SequentialRunner())
    found = {"version": session.session_id, "run_id": _run_id(session.session_id)}
    metrics = store.report(task.folder, {**task.result("done"), **found}, "metrics.json")
    return {"metrics": json.loads(metrics.read_text(encoding="utf-8")), **found}


def _check_configuration(task: Task, project: Path) -> None:
    """The files may have been changed since the benchmark was planned: its cells would not be comparable.

    Raises:
        InputError: they give other parameters now.
    """
    cell = Cell(task.dataset, task.category, task.method, task.seed)
    now = Settings(resolved(project, task.env, task.params), task.threads)
    if now.fingerprint(cell) != task.fingerprint:
        raise InputError(
            f"the files in {project / 'conf'} have other parameters now than when the benchmark began; expected them "
            "to stay: start it again, under another --name if it was meant"
        )


def _run_id(version: str) -> str | None:
    """MLflow's run of this session, None where tracking is off."""
    import mlflow

    last = mlflow.last_active_run()
    return last.info.run_id if last and last.data.tags.get("kedro_run_id") == version else None


def die_with_parent(parent: int) -> None:
    """Have the system end this process when the one that started it ends: nobody would wait for its result."""
    with suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, Linux
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")


def main() -> None:
    """Run the task on standard input; exit code 1 if it fails."""
    die_with_parent(int(sys.argv[1]))
    try:
        run(Task.from_json(sys.stdin.read()))
    except Exception:
        import traceback

        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
