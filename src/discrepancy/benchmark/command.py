"""A benchmark from plan to page: what is missing is run, a cell that fails stays in the table, the others go on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd
from tqdm import tqdm

from discrepancy.benchmark.cell import Task
from discrepancy.benchmark.local import default_threads, default_workers, run_locally, visible_gpus
from discrepancy.benchmark.plan import Cell, Plan, Settings, make_cells
from discrepancy.benchmark.store import CellStore, Result
from discrepancy.benchmark.tracking import ParentRun
from discrepancy.errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps two benchmarks of one name apart
    fcntl = None  # type: ignore[assignment]

FOLDER: Final = "data/08_reporting/benchmark"


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        methods: names of pipelines.
        categories: parts, or `all`.
        seeds: of splits and training.
        params: `--params` of every run, nested; `dataset` and `data_root` among them.
        env: Kedro's environment.
        name: of the benchmark: its folder, and MLflow's run.
        scheduler: address of a Dask scheduler; None runs here.
        workers: cells at a time; None for one per GPU, or one.
        threads: per cell; None shares the cores.
        keep_arrays: leave images and anomaly maps of finished cells on disk.
        dry_run: only say what would be done.
    """

    methods: Sequence[str]
    categories: Sequence[str]
    seeds: Sequence[int]
    params: Mapping[str, Any] = field(default_factory=dict)
    env: str | None = None
    name: str = "demo"
    scheduler: str | None = None
    workers: int | None = None
    threads: int | None = None
    keep_arrays: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.name):
            raise InputError(f"--name: {self.name!r} given; expected a plain name of letters, digits, '-', '_' and '.'")


def run_benchmark(project: Path, options: Options, *, say: Callable[[str], None]) -> bool:
    """Plan, run what is missing, and write tables and page; whether every cell is done.

    Args:
        project: the project's folder.
        options: what was asked for.
        say: shows a line to the user.

    Raises:
        InputError: a method, category or parameter does not exist, or the scheduler cannot be used.
    """
    dataset = str(options.params.get("dataset", "demo"))
    data_root = Path(str(options.params.get("data_root", project / "data/01_raw" / dataset)))
    cells = make_cells(options.methods, dataset, options.categories, options.seeds, project / data_root)
    _check_parameters(project, options, cells[0])
    store = CellStore(project / FOLDER / options.name)
    gpus = [] if options.scheduler else visible_gpus()
    workers = options.workers or (1 if options.scheduler else default_workers(gpus))
    threads = options.threads or default_threads(1 if options.scheduler else workers)
    settings = Settings(dict(options.params), options.env, threads)
    if options.dry_run:
        _show(Plan.of(cells, settings, store), options, workers, say)
        return True
    with _alone(store.root):
        _note(cells, settings, store)
        plan = Plan.of(cells, settings, store)
        _show(plan, options, workers, say)
        parent = _open_parent(project, options, store)
        try:
            tasks = [_task(cell, project, settings, store, parent.run_id, options) for cell in plan.waiting]
            for task, result in _watched(_execute(tasks, options, workers, gpus), len(tasks)):
                tqdm.write(_line(task, result))
        except BaseException:
            parent.close(failed=True)
            raise
        failed = [cell for cell in cells if (store.read(cell.folder) or {}).get("state") != "done"]
        _report(project, options, store, parent)
        parent.close(failed=bool(failed))
    return not failed


def _check_parameters(project: Path, options: Options, cell: Cell) -> None:
    """Have Kedro check names and values once, so that a slip does not make every cell fail, hours later."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    given = {**options.params, "category": cell.category, "seed": cell.seed}
    session: Any = KedroSession.create(project_path=project, env=options.env, runtime_params=given)
    with session:
        _ = session.load_context().params


def _show(plan: Plan, options: Options, workers: int, say: Callable[[str], None]) -> None:
    say(f"benchmark {options.name}: {len(plan.done)} of {len(plan.done) + len(plan.waiting)} cells are done")
    for line in plan.lines(workers):
        say(line)


def _task(
    cell: Cell, project: Path, settings: Settings, store: CellStore, parent: str | None, options: Options
) -> Task:
    return Task(
        project=str(project),
        store=store.root.relative_to(project).as_posix(),
        folder=cell.folder,
        dataset=cell.dataset,
        category=cell.category,
        method=cell.method,
        seed=cell.seed,
        params=dict(settings.params),
        env=settings.env,
        threads=settings.threads,
        fingerprint=settings.fingerprint(cell),
        parent=parent,
        keep_arrays=options.keep_arrays,
    )


def _execute(tasks: list[Task], options: Options, workers: int, gpus: Sequence[str]) -> Iterator[tuple[Task, Result]]:
    if not tasks:
        return iter(())
    if options.scheduler:
        from discrepancy.benchmark.remote import run_on_dask

        return run_on_dask(tasks, options.scheduler)
    return run_locally(tasks, workers=workers, gpus=gpus)


def _watched(results: Iterator[tuple[Task, Result]], total: int) -> Iterator[tuple[Task, Result]]:
    with tqdm(total=total, desc="cells", unit="cell", disable=None) as bar:
        for pair in results:
            bar.update()
            yield pair


def _line(task: Task, result: Result) -> str:
    what = f"{task.method:<6}{task.dataset}/{task.category}, seed {task.seed}"
    if result["state"] != "done":
        return f"{what}: failed: {result['reason']}"
    auroc = result["metrics"].get("image_auroc")
    shown = "" if auroc is None else f"image AUROC {auroc:.3f}, "
    return f"{what}: {shown}{result['seconds']:.0f} s"


def _open_parent(project: Path, options: Options, store: CellStore) -> ParentRun:
    """MLflow's run of this benchmark; its id is kept on disk, for the next start."""
    tags = {"dataset": str(options.params.get("dataset", "demo")), "method": "+".join(options.methods)}
    parent = ParentRun(project, options.env, options.name, store.card().get("run_id"), tags)
    store.note(run_id=parent.run_id)
    return parent


def _report(project: Path, options: Options, store: CellStore, parent: ParentRun) -> None:
    """Tables and page, by the pipeline that makes them again at any time; MLflow gets them too."""
    from kedro.framework.session import KedroSession
    from kedro.runner import SequentialRunner

    session: Any = KedroSession.create(project_path=project, runtime_params={"benchmark": options.name})
    with session:
        session.run(pipeline_names=["report"], runner=SequentialRunner())
    summary = pd.read_csv(store.root / "report/summary.csv", dtype={"category": str})
    results = store.table()
    files = [path for path in sorted((store.root / "report").iterdir()) if path.is_file()]
    parent.log(results, {"results.json": results, "summary.json": summary}, files)


def _note(cells: Sequence[Cell], settings: Settings, store: CellStore) -> None:
    """Keep what was planned; refuse to mix cells of different parameters in one table.

    Raises:
        InputError: the benchmark of this name was made with other settings.
    """
    card = store.card()
    wanted = json.loads(json.dumps(asdict(settings), default=str))
    if (found := card.get("settings")) not in (None, wanted):
        differing = [f"{name} {found.get(name)!r}" for name in wanted if found.get(name) != wanted[name]]
        raise InputError(
            f"the benchmark in {store.root} was made with {', '.join(differing)}; expected the same: give another "
            "--name, or remove that folder"
        )
    known = {json.dumps(cell, sort_keys=True): cell for cell in [*card.get("cells", []), *map(asdict, cells)]}
    store.note(settings=wanted, cells=list(known.values()))


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One benchmark of a name at a time; the system lifts the lock when the process ends, however it ends."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"the benchmark in {root} is running already; expected to be alone: wait for it to end, or give "
                    "another --name"
                ) from error
        yield
