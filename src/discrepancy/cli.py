"""The project's commands: Kedro's `run`, with errors that a user can act on in place of a traceback."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import find_kedro_project
from kedro.validation.exceptions import ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from discrepancy.errors import InputError

TEXTS = ("category", "dataset", "data_root", "data_folder", "weights", "backbone", "benchmark")
"""Parameters that stay text: Kedro reads `category=01` as the number 1."""


@click.group(name="discrepancy")
def cli() -> None:
    """Find defects in photographs of industrial parts."""


def explained(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, its user's errors turned into one message and exit code 1; others keep their traceback."""

    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return callback(*args, **options)
        except Exception as error:
            message = explanation(error)
            if message is None:
                raise
            raise click.ClickException(message) from error

    return wrapped


def explanation(error: BaseException) -> str | None:
    """What the user can do about an error, found along its causes; None if it is the program's fault."""
    from discrepancy.methods.training import DivergedError

    current: BaseException | None = error
    while current is not None:
        if isinstance(current, InputError | DivergedError):
            return str(current)
        if isinstance(current, ParameterValidationError):
            return _parameter_lines(str(current))
        if isinstance(current, InterpolationResolutionError):  # of a value such as `${one_of:...}`
            _, marker, reason = str(current).partition(f"{InputError.__name__} raised while resolving interpolation: ")
            return reason.partition("\n")[0] if marker else None
        if isinstance(current, MissingConfigException) or str(current).startswith("Failed to find the pipeline"):
            return str(current)
        if isinstance(current, _mlflow_error()) and str(current).startswith("API request to "):
            return f"MLflow does not answer; expected its server as in conf/*/mlflow.yml: {current}"
        current = current.__cause__  # not the context: an error on the way of another is no explanation of it
    return None


def _mlflow_error() -> tuple[type[BaseException], ...]:
    """MLflow's own error, if MLflow was imported: seconds that no error of another kind should have to wait."""
    module = sys.modules.get("mlflow.exceptions")
    return (module.MlflowException,) if module else ()


def _parameter_lines(text: str) -> str:
    lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    shorter = [re.sub(r"Failed to instantiate \w+ for parameter '[^']*': ", "", line) for line in lines]
    return "\n".join(shorter) or text


def keep_texts(parse: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The same parser of `--params`, but names and paths stay as they were typed."""

    def parsed(context: click.Context, option: click.Parameter, value: Any) -> dict[str, Any]:
        result = parse(context, option, value)
        for part in str(value or "").split(","):
            name, _, text = part.partition("=")
            if name.strip() in TEXTS and name.strip() in result:
                result[name.strip()] = text.strip()
        return result

    return parsed


def _parse_params() -> Callable[..., dict[str, Any]]:
    """The parser that Kedro's `run` has for `--params`, names and paths kept as text."""
    callback = next(option.callback for option in kedro_run.params if option.name == "params")
    assert callback is not None
    return keep_texts(callback)


def _run_command() -> click.Command:
    command = copy.copy(kedro_run)
    assert command.callback is not None
    command.callback = explained(command.callback)
    command.params = [copy.copy(option) for option in command.params]
    for option in command.params:
        if option.name == "params":
            option.callback = _parse_params()
    return command


run = _run_command()
cli.add_command(run, "run")


@cli.command()
@click.option("--methods", default="dfr,dfc,fod", show_default=True, help="Methods, comma-separated.")
@click.option("--categories", default="all", show_default=True, help="Categories of the data set, comma-separated.")
@click.option("--seeds", default="0", show_default=True, help="Seeds of splits and training, comma-separated.")
@click.option("--params", default="", callback=_parse_params(), help="Parameters of every run, as for `run`.")
@click.option("--env", "-e", envvar="KEDRO_ENV", help="Kedro environment, `paper` for the papers' settings.")
@click.option("--name", help="Folder below data/08_reporting/benchmark; the data set's name unless given.")
@click.option(
    "--scheduler", default=None, help="Address of a Dask scheduler, tcp://host:port: cells run on its workers."
)
@click.option("--workers", type=click.IntRange(1), help="Cells at a time on this machine: one per GPU, else one.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads per cell: unless given as before, or the cores of this machine, shared among --workers.",
)
@click.option("--keep-arrays", is_flag=True, help="Leave images and anomaly maps of finished cells on disk.")
@click.option("--dry-run", is_flag=True, help="Say what is done already and what would run, and stop.")
def benchmark(methods: str, categories: str, seeds: str, params: dict[str, Any], **options: Any) -> None:
    """Run every method on every category with every seed, and compare.

    Each combination is a run of its own, below one parent run in MLflow. Started again, it does only what is missing
    or failed. At the end stand the table and a page that opens from disk; the exit code is 1 if a cell failed.

    \b
    kedro benchmark --methods=dfr,dfc --categories=cable,gear --seeds=0,1
    kedro benchmark --env=paper --params=data_root=/mvtec --seeds=0,1,2
    kedro run --pipeline=report --params=benchmark=mvtec_ad       # the page again, from what is on disk
    """
    explained(_benchmark)(methods, categories, seeds, params, options)


def _benchmark(methods: str, categories: str, seeds: str, params: dict[str, Any], options: dict[str, Any]) -> None:
    from discrepancy.benchmark.command import Options, run_benchmark
    from discrepancy.pipeline_registry import METHODS

    chosen = _list("--methods", methods)
    if unknown := [name for name in chosen if name not in METHODS]:
        raise InputError(f"--methods: unknown {unknown[0]!r}; expected some of {', '.join(METHODS)}")
    numbers = _list("--seeds", seeds)
    if wrong := [seed for seed in numbers if not seed.isdecimal()]:
        raise InputError(f"--seeds: {wrong[0]!r} given; expected whole numbers, 0,1,2")
    for name in ("category", "seed", "data_folder"):
        if name in params:
            raise InputError(f"--params: {name} is not to be set here; expected --categories=... or --seeds=...")
    asked = Options(chosen, _list("--categories", categories), [int(seed) for seed in numbers], params, **options)
    if not run_benchmark(find_kedro_project(Path.cwd()) or Path.cwd(), asked, say=click.echo):
        raise InputError("some cells failed: the table says which and why, their run.log more; started again, they run")


def _list(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option}: nothing given; expected names, comma-separated")
    return names
