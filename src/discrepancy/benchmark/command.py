"""A benchmark from plan to page: what is missing is run, a trial that fails stays in the table, the others go on."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from discrepancy.benchmark.configuration import catalog_of, check_seeds, flat, own_seeds, relative, resolved
from discrepancy.benchmark.feature_sizes import feature_bytes
from discrepancy.benchmark.local import default_threads, default_workers, run_locally, visible_gpus
from discrepancy.benchmark.plan import Plan, SharedSettings, Trial, make_trials
from discrepancy.benchmark.store import LOCK, Result, TrialStore
from discrepancy.benchmark.tables import read_table
from discrepancy.benchmark.tracking import ParentRun
from discrepancy.benchmark.trial import TrialSpec
from discrepancy.data.photographs import DEMO
from discrepancy.demo import check_root
from discrepancy.errors import InputError
from discrepancy.locks import file_lock
from discrepancy.methods.registry import DEFAULT
from discrepancy.places import free_bytes, readable_size

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `kedro benchmark`.

    Attributes:
        methods: names of pipelines.
        categories: parts, or `all`.
        seeds: of splits and training; None for the one that the configuration gives each method.
        params: `--params` of every run, nested; `dataset` and `data_root` among them.
        env: Kedro's environment.
        name: of the benchmark: its folder, and MLflow's run; None for the data set's.
        scheduler: address of a Dask scheduler; None runs here.
        workers: trials at a time; None for one per GPU, or one.
        threads: per trial; None for as many as before, or this machine's cores, shared.
        keep_arrays: leave images and anomaly maps of finished trials on disk.
        dry_run: only say what would be done.
    """

    methods: Sequence[str]
    categories: Sequence[str]
    seeds: Sequence[int] | None
    params: Mapping[str, Any] = field(default_factory=dict)
    env: str | None = None
    name: str | None = None
    scheduler: str | None = None
    workers: int | None = None
    threads: int | None = None
    keep_arrays: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[\w][\w.-]*", self.name):
            raise InputError(f"--name: {self.name!r} given; expected a plain name of letters, digits, '-', '_' and '.'")


def run_benchmark(project: Path, options: Options, *, say: Callable[[str], None]) -> bool:
    """Plan, run what is missing, and write tables and page; return whether every trial is done.

    Args:
        project: the project's folder.
        options: what was asked for.
        say: shows a line to the user.

    Raises:
        InputError: a method, category or parameter does not exist, or the scheduler cannot be used.
    """
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    parameters = resolved(project, options.env, options.params)
    dataset = str(parameters["dataset"])
    options = replace(options, name=options.name or dataset)
    data_root = project / str(parameters["data_root"])
    if dataset == DEMO:
        check_root(data_root)
    trials = make_trials(_seeds(project, options), dataset, options.categories, data_root)
    _check_parameters(project, options, trials[0])
    catalog: Any = catalog_of(project, options.env, {"benchmark": options.name})
    store = TrialStore(project / catalog.get("benchmark").path)
    gpus = [] if options.scheduler else visible_gpus()
    workers = options.workers or default_workers(
        gpus, max(parameters[name].get("processes", 1) for name in options.methods)
    )
    settings = SharedSettings(parameters, _threads(options, store, workers))
    _refuse_other_settings(settings, store)
    cache = project / getattr(catalog.get(f"{DEFAULT}.features"), "cache", ".")
    if options.dry_run:
        plan = Plan.of(trials, settings, store)
        _show(plan, options, workers, say)
        _show_room(plan, parameters, data_root, cache, say)
        return True
    busy = f"the benchmark in {store.root} is running already"
    with file_lock(store.root / LOCK, wait=False, busy=busy, advice="wait for it to end, or give another --name"):
        _note(trials, settings, store)
        plan = Plan.of(trials, settings, store)
        _show(plan, options, workers, say)
        _show_room(plan, parameters, data_root, cache, say)
        parent = _open_parent(project, options, dataset, store)
        try:
            specs = [_spec(trial, project, settings, store, parent.run_id, options) for trial in plan.waiting]
            with closing(_watched(_execute(specs, options, workers, gpus), len(specs))) as results:
                for spec, result in results:
                    tqdm.write(_line(spec, result))
            failed = [trial for trial in trials if (store.read(trial.folder) or {}).get("state") != "done"]
            _report(project, options, store, parent, catalog)
            parent.close("FAILED" if failed else "FINISHED")
        except BaseException as error:
            _end(parent, killed=not isinstance(error, Exception))
            raise
    return not failed


def _seeds(project: Path, options: Options) -> dict[str, list[int]]:
    """Seeds of each method, all of which the trials will really use."""
    where = (project, options.env, options.params, options.methods)
    if options.seeds is None:
        return {method: [seed] for method, seed in own_seeds(*where).items()}
    check_seeds(*where, options.seeds)
    return {method: list(options.seeds) for method in options.methods}


def _threads(options: Options, store: TrialStore, workers: int) -> int:
    """As asked for, or as before: with another number PyTorch rounds otherwise. Else the cores, shared."""
    before = (store.card().get("settings") or {}).get("threads")
    return options.threads or before or default_threads(1 if options.scheduler else workers)


def _end(parent: ParentRun, *, killed: bool) -> None:
    """Have MLflow show that the benchmark was broken off; what broke it off is what the user has to see."""
    try:
        parent.close("KILLED" if killed else "FAILED")
    except Exception:
        logger.exception("MLflow could not be told that the benchmark was broken off")


def _check_parameters(project: Path, options: Options, trial: Trial) -> None:
    """Have Kedro check names and values once, so that a slip does not make every trial fail, hours later."""
    from kedro.framework.session import KedroSession

    given = {**options.params, "category": trial.category, "seed": trial.seed}
    session: Any = KedroSession.create(project_path=project, env=options.env, runtime_params=given)
    with session:
        _ = session.load_context().params


def _show(plan: Plan, options: Options, workers: int, say: Callable[[str], None]) -> None:
    say(f"benchmark {options.name}: {len(plan.done)} of {len(plan.done) + len(plan.waiting)} trials are done")
    for line in plan.lines(None if options.scheduler else workers):
        say(line)


def _show_room(
    plan: Plan, parameters: Mapping[str, Any], data_root: Path, cache: Path, say: Callable[[str], None]
) -> None:
    """Say how much room the cached features of the waiting trials take, if none of them is there yet."""
    needed = feature_bytes(plan.waiting, parameters, data_root) if plan.waiting else None
    if needed is None:
        return
    room = readable_size(free_bytes(cache))
    say(f"cache   about {readable_size(needed)} of features in {cache}, less if some are there already; {room} free")


def _spec(
    trial: Trial, project: Path, settings: SharedSettings, store: TrialStore, parent: str | None, options: Options
) -> TrialSpec:
    return TrialSpec(
        project=str(project),
        store=relative(store.root, project),
        folder=trial.folder,
        dataset=trial.dataset,
        category=trial.category,
        method=trial.method,
        seed=trial.seed,
        params=dict(options.params),
        env=options.env,
        threads=settings.threads,
        fingerprint=settings.fingerprint(trial),
        parent=parent,
        keep_arrays=options.keep_arrays,
    )


def _execute(
    specs: list[TrialSpec], options: Options, workers: int, gpus: Sequence[str]
) -> Iterator[tuple[TrialSpec, Result]]:
    if not specs:
        return iter(())
    if options.scheduler:
        from discrepancy.benchmark.remote import run_on_dask

        return run_on_dask(specs, options.scheduler)
    return run_locally(specs, workers=workers, gpus=gpus)


def _watched(results: Iterator[tuple[TrialSpec, Result]], total: int) -> Generator[tuple[TrialSpec, Result]]:
    with tqdm(total=total, desc="trials", unit="trial", disable=None) as bar:
        for pair in results:
            bar.update()
            yield pair


def _line(spec: TrialSpec, result: Result) -> str:
    what = f"{spec.method:<10}{spec.dataset}/{spec.category}, seed {spec.seed}"
    if result["state"] != "done":
        return f"{what}: failed: {result['reason']}"
    auroc = result["metrics"].get("image_auroc")
    shown = "" if auroc is None else f"image AUROC {auroc:.3f}, "
    return f"{what}: {shown}{result['seconds']:.0f} s"


def _open_parent(project: Path, options: Options, dataset: str, store: TrialStore) -> ParentRun:
    """MLflow's run of this benchmark; its id is kept on disk, for the next start."""
    tags = {"dataset": dataset, "method": "+".join(options.methods)}
    parent = ParentRun(project, options.env, str(options.name), store.card().get("run_id"), tags)
    store.note(run_id=parent.run_id)
    return parent


def _report(project: Path, options: Options, store: TrialStore, parent: ParentRun, catalog: Any) -> None:
    """Tables and page, by the pipeline that makes them again at any time; MLflow gets them too."""
    from kedro.framework.session import KedroSession
    from kedro.runner import SequentialRunner

    given = {"benchmark": options.name}
    session: Any = KedroSession.create(project_path=project, env=options.env, runtime_params=given)
    with session:
        session.run(pipeline_names=["benchmark_report"], runner=SequentialRunner())
    table = project / catalog.get("benchmark_report.summary_table").address
    summary, results = read_table(table), store.table()
    page = project / catalog.load("benchmark_report.page")
    folders = {"benchmark": table.parent, "benchmark/page": page.parent}
    parent.log(results, {"results.json": results, "summary.json": summary}, folders)


def _refuse_other_settings(settings: SharedSettings, store: TrialStore) -> None:
    """Trials of different parameters, or of different versions of this package, are not mixed in one table.

    Raises:
        InputError: the benchmark of this name was made with other settings.
    """
    found = store.card().get("settings")
    if found is None:
        return
    found = {"version": version("discrepancy"), **found}  # older cards do not say it
    if found == (wanted := _as_json(settings)):
        return
    before, now = flat(found), flat(wanted)
    pairs = [
        f"{name.removeprefix('parameters.')} {before.get(name)!r}, now {now.get(name)!r}"
        for name in before | now
        if before.get(name) != now.get(name)
    ]
    more = "" if len(pairs) <= 5 else f"; and {len(pairs) - 5} more"
    raise InputError(
        f"the benchmark in {store.root} was made with {'; '.join(pairs[:5])}{more}: expected the same: give another "
        "--name, or remove that folder"
    )


def _as_json(settings: SharedSettings) -> dict[str, Any]:
    return json.loads(json.dumps({"version": version("discrepancy"), **asdict(settings)}, default=str))


def _note(trials: Sequence[Trial], settings: SharedSettings, store: TrialStore) -> None:
    """Keep what is planned now; of what was planned before, the trials that were run."""
    planned = [asdict(trial) for trial in trials]
    run = {(found["dataset"], found["category"], found["method"], found["seed"]) for found in store.results()}
    earlier = [
        trial for trial in store.card().get("cells", []) if tuple(trial.values()) in run and trial not in planned
    ]
    store.note(settings=_as_json(settings), cells=[*earlier, *planned])
