"""One trial in a process of its own: `python -m discrepancy.benchmark.trial` reads a task from its standard input.

A process per trial: its peak memory is its own, and a crash takes nothing else along. A trial gives the same numbers
whether it is run alone, beside others or on another machine.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import chdir, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from discrepancy.benchmark.configuration import catalog_of, relative, resolved
from discrepancy.benchmark.plan import SharedSettings, Trial
from discrepancy.benchmark.store import Result, TrialStore
from discrepancy.errors import InputError
from discrepancy.explanation import explanation


@dataclass(frozen=True)
class TrialSpec:
    """All that a process needs to know of a trial; JSON values, so that it can be sent anywhere.

    Attributes:
        project: the project's folder, on the machine that runs the trial.
        store: the benchmark's folder, relative to the project's.
        folder: the trial's, below that.
        dataset: how the photographs are laid out.
        category: the part.
        method: the pipeline.
        seed: of splits and training.
        params: `--params` besides, nested.
        env: Kedro's environment.
        threads: for PyTorch's products.
        fingerprint: of the trial and its settings.
        parent: MLflow's run that this one belongs to; None for none.
        keep_arrays: leave images and anomaly maps on disk.
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
        """Return the result of this trial: what identifies it, and what is given here."""
        index = {name: getattr(self, name) for name in ("dataset", "category", "method", "seed", "fingerprint")}
        return {**index, "state": state, "reason": reason, "seconds": seconds, **more}

    def to_json(self) -> str:
        """Return the spec as text, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrialSpec:
        """Return the spec that `to_json` wrote."""
        return cls(**json.loads(text))


def run(spec: TrialSpec) -> Result:
    """Run the trial in this process; keep its result and return it.

    Any error of the trial is raised again, once the result says that it failed.
    """
    import torch

    torch.set_num_threads(spec.threads)
    began = time.perf_counter()
    store = TrialStore(Path(spec.project) / spec.store)
    try:
        found = _session(spec, store)
        result = spec.result("done", seconds=time.perf_counter() - began, **found)
    except Exception as error:  # whatever it is, the other trials go on, and the table says what it was
        reason = explanation(error) or f"{type(error).__name__}: {error}"
        store.write(spec.folder, spec.result("failed", reason=reason, seconds=time.perf_counter() - began))
        raise
    store.write(spec.folder, result)
    return result


def _session(spec: TrialSpec, store: TrialStore) -> dict[str, Any]:
    """Outcome of a trial's Kedro run: metrics, where its report lies, MLflow's run."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.runner import SequentialRunner

    project = Path(spec.project)
    if spec.parent:
        os.environ["MLFLOW_PARENT_RUN_ID"] = spec.parent
    bootstrap_project(project)
    _check_configuration(spec, project)
    given = {
        **spec.params,
        "dataset": spec.dataset,
        "category": spec.category,
        "seed": spec.seed,
        "data_folder": relative(store.work(spec.folder), project),
    }
    session: Any = KedroSession.create(project_path=project, env=spec.env, runtime_params=given)
    with chdir(project):
        with session:
            session.run(pipeline_names=[spec.method], runner=SequentialRunner())
        catalog = catalog_of(project, spec.env, given)
        found = {"metrics": catalog.load(f"{spec.method}.metrics"), "gallery": _gallery(catalog, spec.method, store)}
        if not spec.keep_arrays:
            _delete_arrays(catalog, spec.method)
    return {**found, "version": session.session_id, "run_id": _run_id(session.session_id)}


def _gallery(catalog: Any, method: str, store: TrialStore) -> str | None:
    """Return the path of the run's gallery, below the benchmark's folder; None where there is none."""
    dataset = catalog.get(f"{method}.gallery_figure")
    if dataset is None or not dataset.exists():
        return None
    path = Path(dataset.address).absolute()
    return path.relative_to(store.root).as_posix() if path.is_relative_to(store.root) else None


def _delete_arrays(catalog: Any, method: str) -> None:
    """Delete what a finished trial does not need any more: gigabytes for a large data set."""
    from kedro.framework.project import pipelines

    from discrepancy.datasets.array import ArrayDataset

    for name in pipelines[method].datasets():
        if isinstance(dataset := catalog.get(name), ArrayDataset):
            dataset.delete()


def _check_configuration(spec: TrialSpec, project: Path) -> None:
    """The files may have been changed since the benchmark was planned: its trials would not be comparable.

    Raises:
        InputError: they give other parameters now.
    """
    trial = Trial(spec.dataset, spec.category, spec.method, spec.seed)
    now = SharedSettings(resolved(project, spec.env, spec.params), spec.threads)
    if now.fingerprint(trial) != spec.fingerprint:
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
    """Run the trial whose spec stands on standard input; exit code 1 if it fails."""
    die_with_parent(int(sys.argv[1]))
    try:
        run(TrialSpec.from_json(sys.stdin.read()))
    except Exception:
        import traceback

        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
