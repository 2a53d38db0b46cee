"""The project's commands: Kedro's `run`, with errors that a user can act on in place of a traceback."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.validation.exceptions import ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from discrepancy.errors import InputError

TEXTS = ("category", "dataset", "data_root", "weights", "backbone")
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
        current = current.__cause__  # not the context: an error on the way of another is no explanation of it
    return None


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


def _run_command() -> click.Command:
    command = copy.copy(kedro_run)
    assert command.callback is not None
    command.callback = explained(command.callback)
    command.params = [copy.copy(option) for option in command.params]
    for option in command.params:
        if option.name == "params" and option.callback is not None:
            option.callback = keep_texts(option.callback)
    return command


run = _run_command()
cli.add_command(run, "run")
