"""Messages for errors that a user can resolve; errors of the program itself have none."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
from typing import Final

from kedro.config import MissingConfigException
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError
from pydantic import ValidationError

from discrepancy.errors import InputError

_REFUSED: Final = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG,
)  # fmt: skip
"""Error numbers of refusals by the file system, without ENOENT: a missing file is the program's fault."""

_OF_CATALOG: Final = (
    "when parsing config for dataset",
    "not a valid dataset configuration",
    "must only contain arguments",
)
"""Phrases in Kedro's errors for a catalog entry that cannot become a dataset."""


def explanation(error: BaseException) -> str | None:
    """Return the user's remedy for an error, searched along its causes; None if it is the program's fault."""
    current: BaseException | None = error
    while current is not None:
        if message := _of_input(current) or _of_files_of_configuration(current):
            return message
        if message := _of_mlflow(current) or _of_files(current, error):
            return message
        current = current.__cause__  # not the context: an error on the way of another is no explanation of it
    return None


def _of_input(error: BaseException) -> str | None:
    if isinstance(error, (InputError, MissingConfigException, *_diverged_error())):
        return str(error)
    return _parameter_lines(str(error)) if isinstance(error, ParameterValidationError) else None


def _of_files_of_configuration(error: BaseException) -> str | None:
    """Explain faults in files that kedro-mlflow and Kedro's catalog refuse."""
    if isinstance(error, ValidationError) and error.title == "KedroMlflowConfig":
        first = error.errors(include_url=False)[0]
        return f"conf/*/mlflow.yml: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, DatasetError) and any(mark in str(error) for mark in _OF_CATALOG):
        return f"conf/*/catalog*.yml: {' '.join(lines[:2])}"
    return None


def _of_mlflow(error: BaseException) -> str | None:
    in_text = re.search(r"\(sqlite3\.\w+\) (.*)", str(error)) if isinstance(error, _mlflow_error()) else None
    if in_text or isinstance(error, sqlite3.Error):
        reason = in_text[1] if in_text else str(error)
        return f"MLflow's database: {reason}; expected one that can be written, as in conf/*/mlflow.yml"
    if isinstance(error, _mlflow_error()) and str(error).startswith("API request to "):
        return f"MLflow does not answer; expected its server as in conf/*/mlflow.yml: {error}"
    return None


def _of_files(error: BaseException, outermost: BaseException) -> str | None:
    """Return the refused file: the error's, or, as writing does not name it, that of the dataset to be saved."""
    in_text = re.search(r"\(os error (\d+)\)", str(error))  # of safetensors, which is written in Rust
    code = error.errno if isinstance(error, OSError) else int(in_text[1]) if in_text else 0
    if code not in _REFUSED:
        return None
    of_dataset = re.search(r"\b(?:filepath|path)='?(?:PurePosixPath\(')?([^',)]+)", str(outermost))
    place = getattr(error, "filename", None) or (of_dataset[1] if of_dataset else "a file of this run")
    return f"{place}: {os.strerror(code)}; expected a place that can be read and written, with room for it"


def _diverged_error() -> tuple[type[BaseException], ...]:
    """Return the error of a diverged training, if anything was trained: the module imports PyTorch."""
    module = sys.modules.get("discrepancy.training.loop")
    return (module.DivergedError,) if module else ()


def _mlflow_error() -> tuple[type[BaseException], ...]:
    """Return MLflow's own error, if MLflow was imported: importing it here would take seconds."""
    module = sys.modules.get("mlflow.exceptions")
    return (module.MlflowException,) if module else ()


def _parameter_lines(text: str) -> str:
    lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    shorter = [re.sub(r"Failed to instantiate \w+ for parameter '[^']*': ", "", line) for line in lines]
    return "\n".join(shorter) or text
