"""Commands of the project: Kedro's `run`, with actionable errors in place of a traceback, and `benchmark`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import find_kedro_project
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discrepancy.command import Command
from discrepancy.errors import InputError
from discrepancy.features_command import features
from discrepancy.methods.registry import DEFAULT, METHODS
from discrepancy.parameters import known, suggestion
from discrepancy.params_option import HELP, parse_params, split_names
from discrepancy.run_options import check_run_options
from discrepancy.serving.command import serve

EXAMPLES = f"""\b
Examples:
  kedro run --pipelines={DEFAULT} --params=category=cable
  kedro run --pipelines={DEFAULT} --params=category=gear,seed=1,{DEFAULT}.epochs=20
  kedro run --pipelines={DEFAULT} --params=dataset=folder,data_root=~/photos,category=01
  kedro run --params='data_root="/photos, new",category=bolt' --params=dataset=folder
  kedro run --pipelines=predict --params=method={DEFAULT},category=cable,input=/photos
  kedro run --pipelines=calibrate --params=method={DEFAULT},category=cable,good=/photos/good
  kedro run --pipelines=export --params=method={DEFAULT},category=cable
  kedro run --params='data_root=/photos\\, new,category=bolt,dataset=folder'

Methods: {", ".join(METHODS)}. Other pipelines: predict, calibrate, export, ingestion, inspect,
download, benchmark_report.
Parameters and their defaults: conf/base."""


@click.group(name="discrepancy")
def cli() -> None:
    """Find defects in photographs of industrial parts."""


def _parse_params(context: click.Context, option: click.Parameter, value: Any) -> dict[str, Any]:
    given = value if isinstance(value, tuple | list) else [value]
    return parse_params(given, option=f"--{str(option.name).replace('_', '-')}")


def _params_option(callback: Callable[..., Any]) -> Callable[..., Any]:
    kind = click.option("--params", multiple=True, type=click.UNPROCESSED, callback=_parse_params, help=HELP)
    return kind(callback)


def _read_config(context: click.Context, option: click.Parameter, path: str | None) -> str | None:
    """Read options from the section `run` of a YAML file; those on the command line come first."""
    if path is None:
        return None
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--config: {path} cannot be read: {reason}") from error
    section = content.get("run") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise InputError(f"--config: {path} has no section run; expected run:, and options of this command below it")
    names = [str(one.name) for one in context.command.params if one.name != "config"]
    if unknown := [str(name) for name in section if name not in names]:
        raise InputError(f"--config: {path}: unknown {unknown[0]!r}{suggestion(unknown[0], names)}; {known(names)}")
    context.default_map = {**(context.default_map or {}), **{name: _typed(name, section[name]) for name in section}}
    return path


def _typed(name: str, value: Any) -> Any:
    """Return a value of a file as it would be typed."""
    if name == "params":
        return [value]
    if isinstance(value, Mapping) and name == "load_versions":
        value = [f"{key}:{version}" for key, version in value.items()]
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _run_command() -> click.Command:
    """Return Kedro's `run` with other parsers of its options and a check of names before any work."""
    run_kedro = kedro_run.callback
    assert run_kedro is not None

    def run(**options: Any) -> Any:
        check_run_options(options)
        return run_kedro(**options)

    options = [copy.copy(option) for option in kedro_run.params if option.name != "params"]
    for option in options:
        if option.name == "runner_params":
            option.callback = _parse_params
        if option.name == "config":
            option.callback = _read_config
    settings = kedro_run.context_settings
    command = Command("run", settings, run, options, help="Run a pipeline.", epilog=EXAMPLES)
    return _params_option(command)  # type: ignore[return-value]  # a command given, it is a command


run = _run_command()
cli.add_command(run, "run")
cli.add_command(features)
cli.add_command(serve)


@cli.command(cls=Command)
@click.option("--methods", default=",".join(METHODS), show_default=True, help="Methods, comma-separated.")
@click.option("--categories", default="all", show_default=True, help="Categories of the data set, comma-separated.")
@click.option("--seeds", help="Seeds of splits and training, comma-separated; each method's own seed unless given.")
@_params_option
@click.option("--env", "-e", envvar="KEDRO_ENV", help="Kedro environment, `paper` for the papers' settings.")
@click.option("--name", help="Folder below data/08_reporting/benchmark; the data set's name unless given.")
@click.option(
    "--scheduler", default=None, help="Address of a Dask scheduler, tcp://host:port: trials run on its workers."
)
@click.option("--workers", type=click.IntRange(1), help="Trials at a time on this machine: one per GPU, else one.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads per trial: unless given as before, or the cores of this machine, shared among --workers.",
)
@click.option("--keep-arrays", is_flag=True, help="Leave images and anomaly maps of finished trials on disk.")
@click.option("--dry-run", is_flag=True, help="Say what is done already and what would run, and stop.")
def benchmark(methods: str, categories: str, seeds: str | None, params: dict[str, Any], **options: Any) -> None:
    """Run every method on every category with every seed, and compare.

    Each combination is a run of its own, below one parent run in MLflow. Started again, it does only what is missing
    or failed. At the end stand the table and a page that opens from disk; the exit code is 1 if a trial failed.

    \b
    kedro benchmark --methods=METHOD,METHOD --categories=cable,gear --seeds=0,1
    kedro benchmark --env=paper --params=data_root=/mvtec --seeds=0,1,2
    kedro run --pipeline=benchmark_report --params=benchmark=mvtec_ad       # the page again, from what is on disk
    """
    from discrepancy.benchmark.command import Options, run_benchmark

    chosen = _list("--methods", methods)
    if unknown := [name for name in chosen if name not in METHODS]:
        raise InputError(f"--methods: unknown {unknown[0]!r}; expected some of {', '.join(METHODS)}")
    numbers = None if seeds is None else _list("--seeds", seeds)
    if wrong := [seed for seed in numbers or [] if not seed.isdecimal()]:
        raise InputError(f"--seeds: {wrong[0]!r} given; expected whole numbers, 0,1,2")
    for name in ("category", "seed", "data_folder"):
        if name in params:
            raise InputError(f"--params: {name} is not to be set here; expected --categories=... or --seeds=...")
    whole = None if numbers is None else [int(seed) for seed in numbers]
    asked = Options(chosen, _list("--categories", categories), whole, params, **options)
    if not run_benchmark(find_kedro_project(Path.cwd()) or Path.cwd(), asked, say=click.echo):
        raise InputError(
            "some trials failed: the table says which and why, their run.log more; started again, they run"
        )


def _list(option: str, text: str) -> list[str]:
    names = split_names(text)
    if not names:
        raise InputError(f"{option}: nothing given; expected names, comma-separated")
    return names
