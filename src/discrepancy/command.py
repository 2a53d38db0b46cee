"""Commands that end with one message, not a traceback, where the user can act on what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.project import LOGGING
from kedro.utils import find_kedro_project

from discrepancy.config_loader import PATHS
from discrepancy.errors import InputError
from discrepancy.explanation import explanation


class _ShownError(click.ClickException):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # as click's own errors do


class Command(click.Command):
    """A command of a project: errors of its user are one message and exit code 1; others keep their traceback."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the options."""
        with explained():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command in the project's folder, from whatever folder below it."""
        with explained(), in_project(ctx.params):
            return super().invoke(ctx)


@contextmanager
def explained() -> Iterator[None]:
    """Raise, in place of an error of the user's, one that click shows in one message."""
    try:
        yield
    except (click.BadParameter, KedroCliError) as error:  # click would add how to use the command, Kedro its class
        raise click.ClickException(error.format_message()) from error
    except click.ClickException:
        raise
    except Exception as error:
        message = explanation(error)
        if message is None:
            raise
        raise _ShownError(message, getattr(error, "exit_code", 1)) from error


@contextmanager
def in_project(options: Mapping[str, Any]) -> Iterator[None]:
    """Have relative paths mean the same from every folder of the project: those from its own.

    Args:
        options: of the command; `params` and `conf_source` are looked at.

    Raises:
        InputError: this is no project, or a path of `params` exists only where the user stands.
    """
    here = Path.cwd()
    project = find_kedro_project(here)
    _set_logging(options.get("conf_source") or (project or here) / "conf")
    if project is None and not options.get("conf_source") and not (here / "conf").is_dir():
        raise InputError(
            f"{here} is no project: expected to be started in the project's folder, or with a configuration, "
            "--conf-source=conf-discrepancy.tar.gz (made by `kedro package`)"
        )
    if project is None or project == here:
        yield
        return
    _refuse_from_here(options.get("params") or {}, project, here)
    click.echo(f"Relative paths are those from the project, {project}", err=True)
    with chdir(project):
        yield


def _set_logging(conf_source: str | Path) -> None:
    """Kedro looks for logging.yml where it is started only; here also in a packed configuration."""
    if os.environ.get("KEDRO_LOGGING_CONFIG") or not Path(conf_source).exists() or Path("conf/logging.yml").is_file():
        return
    files, _ = OmegaConfigLoader._initialise_filesystem_and_protocol(str(conf_source))
    root = str(conf_source) if Path(conf_source).is_dir() else str(files.ls("", detail=False)[-1])
    if files.isfile(path := f"{root}/logging.yml"):
        LOGGING.configure(yaml.safe_load(files.cat_file(path)))


def _refuse_from_here(params: Mapping[str, Any], project: Path, here: Path) -> None:
    for name, value in params.items():
        if isinstance(value, Mapping):
            _refuse_from_here(value, project, here)
        elif name in PATHS and isinstance(value, str) and not (project / value).exists() and (here / value).exists():
            raise InputError(
                f"{name}={value}: there is no {project / value}, and relative paths are those from the project; "
                f"expected {name}={here / value}, if it is meant"
            )
