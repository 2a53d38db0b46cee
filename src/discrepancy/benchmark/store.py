"""Results of trials on disk: a small JSON file each, written whole or not at all, by whichever machine ran it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from discrepancy.atomic import replacing
from discrepancy.errors import InputError
from discrepancy.json_files import read_object

logger = logging.getLogger(__name__)

CARD: Final = "benchmark.json"
RESULT: Final = "result.json"
LOCK: Final = ".lock"
"""In the folder of a benchmark or a trial: held by the process that works on it."""
WORK: Final = "work"
_TRIAL: Final = ("dataset", "category", "method", "seed")
_INDEX: Final = (*_TRIAL, "state", "reason")

Result = dict[str, Any]
"""A trial's `dataset`, `category`, `method`, `seed` and `fingerprint`, its `state` (`done` or `failed`), `reason` (of a
failure) and `seconds` (wall time). One that is done also has `metrics` (by name; None where not defined), `gallery`
(its path below the benchmark's folder; None where there is none), `run_id` (MLflow's) and `version` (Kedro's)."""


_Name = Annotated[str, Field(min_length=1, pattern=r"^[^/\\]+$")]  # of one folder


def _below(path: str | None) -> str | None:
    """A path that leads out of the benchmark's folder would be copied to its page."""
    if path is not None and (PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts):
        raise ValueError("leads out of the benchmark's folder")
    return path


class _TrialForm(BaseModel):
    """Identity of a trial. Its values become folders, so they must not lead out of the benchmark's."""

    model_config = ConfigDict(strict=True, extra="allow")

    dataset: _Name
    category: _Name
    method: _Name
    seed: Annotated[int, Field(ge=0)]

    @property
    def folder(self) -> str:
        return f"{self.method}/{self.dataset}/{self.category}/seed_{self.seed}"


class _ResultForm(_TrialForm):
    state: Literal["done", "failed"]
    reason: str = ""
    fingerprint: str
    seconds: Annotated[float, Field(ge=0)]
    metrics: dict[str, float | None] | None = None
    gallery: Annotated[str | None, AfterValidator(_below)] = None


class _CardForm(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    run_id: str | None = None
    settings: dict[str, Any] | None = None
    cells: list[_TrialForm] = []
    """The trials that were planned."""


class TrialStore:
    """The folder of a benchmark: `<trial>/result.json`, and what the trial's run wrote in `<trial>/work`.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def work(self, folder: str) -> Path:
        """Return the folder that a trial's run writes into, in place of the project's `data`."""
        return self.root / folder / WORK

    def card(self) -> dict[str, Any]:
        """Return what the benchmark as a whole has noted; empty before its first start.

        `run_id` is MLflow's, `settings` those of `plan.SharedSettings`, `cells` the trials that were planned.

        Raises:
            InputError: it is damaged. Without it, trials of other parameters would count as of this benchmark.
        """
        path = self.root / CARD
        if not path.exists():
            return {}
        try:
            card = read_object(path)
            _CardForm.model_validate(card)
        except ValidationError as error:
            raise InputError(f"{path}: {_first(error)}; expected what a benchmark noted, or none: remove it") from error
        return card

    def note(self, **values: Any) -> None:
        """Add to the benchmark's card."""
        _replace(self.root / CARD, {**self.card(), **values})

    def read(self, folder: str) -> Result | None:
        """Return a trial's result; None if there is none, or a damaged one.

        Of a damaged one a warning is logged; the trial runs again.
        """
        path = self.root / folder / RESULT
        if not path.exists():
            return None
        try:
            result = read_object(path)
            form = _ResultForm.model_validate(result)
            if form.folder != folder:
                raise InputError(f"{path}: is of {form.folder}; expected a result of {folder}")
        except (InputError, ValidationError) as error:
            reason = f"{path}: {_first(error)}" if isinstance(error, ValidationError) else error
            logger.warning("a result is damaged, and counts as missing: %s", reason)
            return None
        return result

    def write(self, folder: str, result: Result) -> None:
        """Keep a trial's result in place of an earlier one."""
        _replace(self.root / folder / RESULT, result)

    def results(self) -> Iterator[Result]:
        """Yield every result that is there, sorted by place."""
        for path in sorted(self.root.glob(f"*/*/*/*/{RESULT}")):
            if (result := self.read(path.parent.relative_to(self.root).as_posix())) is not None:
                yield result

    def galleries(self) -> dict[tuple[str, str, str], Path]:
        """Return the gallery (PNG file) of each (method, data set, category): that of the lowest seed which has one."""
        found: dict[tuple[str, str, str], Path] = {}
        for path in sorted(self.root.glob(f"*/*/*/*/{RESULT}"), key=_seed):
            folder = path.parent.relative_to(self.root).as_posix()
            result = self.read(folder)
            if result and result["state"] == "done" and result.get("gallery"):
                picture = self.root / result["gallery"]
                if picture.is_file():
                    found.setdefault((result["method"], result["dataset"], result["category"]), picture)
        return found

    def table(self) -> pd.DataFrame:
        """Return one row per trial: `dataset`, `category`, `method`, `seed`, `state`, `reason`, `seconds`, its metrics.

        Trials that the benchmark's card names and that have no result are `missing`.
        """
        rows = [
            {name: result.get(name, "") for name in _INDEX} | {"seconds": result.get("seconds")} | _numbers(result)
            for result in self.results()
        ]
        there = {tuple(row[name] for name in _TRIAL) for row in rows}
        planned = [tuple(trial[name] for name in _TRIAL) for trial in self.card().get("cells", [])]
        missing = [dict(zip(_TRIAL, trial, strict=True)) for trial in planned if trial not in there]
        rows += [{**trial, "state": "missing", "reason": "", "seconds": None} for trial in missing]
        return pd.DataFrame(rows, columns=None if rows else [*_INDEX, "seconds"])


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _replace(path: Path, values: dict[str, Any]) -> None:
    """Write JSON beside the file, then put it in its place."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _seed(path: Path) -> tuple[int, str]:
    number = path.parent.name.rpartition("_")[2]
    return (int(number) if number.isdecimal() else 0, str(path))


def _numbers(result: Result) -> dict[str, float]:
    metrics = result.get("metrics") or {}
    return {name: float("nan") if value is None else float(value) for name, value in metrics.items()}
