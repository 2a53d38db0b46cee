"""The plan of a benchmark: one trial per method, category and seed; which are done, and what the rest will take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

from discrepancy.benchmark.store import TrialStore
from discrepancy.data.layouts import known_categories
from discrepancy.data.photographs import DEMO
from discrepancy.demo import CATEGORIES
from discrepancy.errors import InputError
from discrepancy.names import check_name

ALL: Final = "all"


@dataclass(frozen=True, order=True)
class Trial:
    """One run of one method: the smallest thing that is planned, run, done or failed."""

    dataset: str
    category: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method} on {self.dataset}/{self.category}, seed {self.seed}"

    @property
    def folder(self) -> str:
        """POSIX path of what belongs to it, below the benchmark's folder."""
        return f"{self.method}/{self.dataset}/{self.category}/seed_{self.seed}"


@dataclass(frozen=True)
class SharedSettings:
    """Settings that all trials of a benchmark share.

    Attributes:
        parameters: of every run, nested, as `configuration.resolved` gives them.
        threads: per trial, for PyTorch's products: with another number they round otherwise.
    """

    parameters: Mapping[str, Any]
    threads: int

    def fingerprint(self, trial: Trial) -> str:
        """Digest all that decides a trial's numbers but the photographs; a result with another one is not its own."""
        # "cell" is what a trial is called in the results that are on disk already, here and in the benchmark's card.
        what = {"cell": asdict(trial), **asdict(self), "version": version("discrepancy")}
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """The trials of a benchmark, in the order in which they run.

    Attributes:
        done: trials whose result is there.
        waiting: trials that will run: missing, failed before, or made with other parameters.
        seconds: what the waiting ones will take, one after the other; None where no trial of a method has been run yet.
    """

    done: list[Trial]
    waiting: list[Trial]
    seconds: float | None

    @classmethod
    def of(cls, trials: Sequence[Trial], settings: SharedSettings, store: TrialStore) -> Self:
        """Compare the trials wanted with the results on disk."""
        results = {trial: store.read(trial.folder) for trial in trials}
        done = [
            trial
            for trial, result in results.items()
            if result and result["state"] == "done" and result["fingerprint"] == settings.fingerprint(trial)
        ]
        waiting = [trial for trial in trials if trial not in set(done)]
        return cls(done, waiting, _estimate(waiting, store))

    def lines(self, workers: int | None) -> list[str]:
        """Describe what is done, what will run, and how long that may take: so many at a time, None for not known."""
        methods = list(dict.fromkeys(trial.method for trial in [*self.done, *self.waiting]))
        lines = []
        for method in methods:
            counts = [sum(trial.method == method for trial in trials) for trials in (self.done, self.waiting)]
            seeds = sorted({trial.seed for trial in [*self.done, *self.waiting] if trial.method == method})
            lines.append(f"{method:<10}{counts[0]:>3} done {counts[1]:>5} to run, {_seed_words(seeds)}")
        if self.waiting:
            seconds = None if self.seconds is None else self.seconds / (workers or 1)
            taking = "unknown before a first trial is done" if seconds is None else duration(seconds)
            lines.append(f"time    {taking}, {f'with {workers} at a time' if workers else 'one after the other'}")
        return lines


def _seed_words(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _estimate(waiting: Iterable[Trial], store: TrialStore) -> float | None:
    """Seconds by the usual trial of the same method on the same part, or else of the same method."""
    known: dict[tuple[str, ...], list[float]] = {}
    for result in store.results():
        if result["state"] == "done":
            for key in ((result["method"],), (result["method"], result["dataset"], result["category"])):
                known.setdefault(key, []).append(float(result["seconds"]))
    total = 0.0
    for trial in waiting:
        seconds = known.get((trial.method, trial.dataset, trial.category)) or known.get((trial.method,))
        if seconds is None:
            return None
        total += median(seconds)
    return total


def duration(seconds: float) -> str:
    """Return a duration in words: `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def make_trials(
    seeds: Mapping[str, Sequence[int]], dataset: str, categories: Sequence[str], data_root: Path
) -> list[Trial]:
    """Return all combinations, the methods of a category one after the other, so that a table fills line by line.

    Args:
        seeds: of splits and training, by method; equally many of each.
        dataset: how the photographs are laid out.
        categories: parts; `all` for every one that lies there.
        data_root: the folder that holds the categories.

    Raises:
        InputError: a category does not exist, or none does; the message names those that do.
    """
    known = list(CATEGORIES) if dataset == DEMO else known_categories(dataset, data_root)
    if not known:
        raise InputError(f"{data_root} holds no category of {dataset}: expected its folders there, or data_root=...")
    chosen = known if list(categories) == [ALL] else list(dict.fromkeys(categories))
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"--categories: unknown {', '.join(map(repr, unknown))}; expected some of {', '.join(known)}")
    for name in chosen:
        check_name("category", name)
    rounds = list(zip(*(dict.fromkeys(own) for own in seeds.values()), strict=True))
    return [
        Trial(dataset, category, method, seed)
        for category in chosen
        for of_methods in rounds
        for method, seed in zip(seeds, of_methods, strict=True)
    ]
