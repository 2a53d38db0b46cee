"""Locations of MLflow's database and files."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from kedro.framework.context import KedroContext
from omegaconf import OmegaConf

VARIABLE: Final = "MLFLOW_TRACKING_URI"
_EXPORTED: Final = "DISCREPANCY_TRACKING_URI"
"""Value that kedro-mlflow has set for `VARIABLE`: no other project, nor a child process, takes it for the user's."""
_LOCATIONS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's database that hold addresses of files."""


def use_project(context: KedroContext) -> bool:
    """Have `conf/*/mlflow.yml` refer to this project's folder, and the user's `MLFLOW_TRACKING_URI` override it.

    Returns:
        True if the user has set that variable.

    Raises:
        MissingConfigException: there is no such configuration folder.
    """
    project = Path(context.project_path)
    resolvers: dict[str, Callable[[str], str]] = {
        "sqlite_uri": lambda path: _sqlite_uri(project / path),
        "folder_uri": lambda path: (project / path).as_uri(),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    given = os.environ.get(VARIABLE)
    if not given or given == os.environ.get(_EXPORTED):
        return False
    configuration = context.config_loader["mlflow"]
    configuration["server"] = {**(configuration.get("server") or {}), "mlflow_tracking_uri": given}
    if not given.startswith("sqlite:"):  # a server knows by itself where its files belong
        (_experiment(configuration).get("create_experiment_kwargs") or {}).pop("artifact_location", None)
    context.config_loader["mlflow"] = configuration
    return True


def note_export(*, of_user: bool) -> None:
    """Remember the address that kedro-mlflow has put into the environment, unless the user has set it."""
    if of_user:
        os.environ.pop(_EXPORTED, None)
    elif VARIABLE in os.environ:
        os.environ[_EXPORTED] = os.environ[VARIABLE]


def shown_address(project: Path) -> str:
    """Return the way to view the runs: a command for a database, the address of a server."""
    address = os.environ.get(VARIABLE, "")
    if address.startswith(("http://", "https://")):
        return address
    if address == database_uri(project) and Path.cwd() == project:
        address = "sqlite:///mlflow.db"
    return f"mlflow ui --backend-store-uri {shlex.quote(address)}"


def _sqlite_uri(path: Path) -> str:
    text = path.as_posix()
    # SQLAlchemy would read a question mark, or a percent sign before two digits, as something else. What else may be
    # escaped is better not: MLflow makes the database's folder by the name that stands here.
    plain = unquote(text) == text and "?" not in text
    return f"sqlite:///{text if plain else text.replace('%', '%25').replace('?', '%3F')}"


def database_uri(project: Path) -> str:
    """Return the address of the project's own database."""
    return _sqlite_uri(project / "mlflow.db")


def current_address() -> str | None:
    """Return the address of MLflow's database or server for a process that may be outside of any run.

    Returns:
        That of this process, from a run, `mlflow.set_tracking_uri` or the user's `MLFLOW_TRACKING_URI`; else the
        database of the project around the current folder; None if there is none.
    """
    import mlflow
    from kedro.utils import find_kedro_project

    if mlflow.tracking.is_tracking_uri_set():
        return str(mlflow.get_tracking_uri())
    project = find_kedro_project(Path.cwd())
    return database_uri(project) if project and (project / "mlflow.db").is_file() else None


def move_artifacts(database: Path, experiment: str, location: str) -> None:
    """Have a database that was moved or copied with its project refer to the files beside it.

    MLflow keeps absolute addresses: after a move, new files would go to the old place, and old ones be lost.

    Args:
        database: SQLite; none yet is fine.
        experiment: name of the experiment; all its files are in one folder of the project.
        location: the address of that folder now.
    """
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        tables = _columns(connection)
        if ("experiments", "artifact_location") not in tables:
            return
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        found = connection.execute(query, (experiment,)).fetchone()
        if found is None or found[0] == location or _name(found[0]) != _name(location):
            return
        for table, column in _LOCATIONS:
            if (table, column) in tables:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (location, len(found[0]) + 1, len(found[0]), found[0]),
                )


def _name(location: str) -> str:
    scheme, _, path = location.rpartition("file://")
    return "" if scheme else path.rstrip("/").rpartition("/")[2]


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {(name, row[1]) for name in names for row in connection.execute(f"PRAGMA table_info('{name}')")}


def configured(configuration: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the experiment's name and the address of its files, as `conf/*/mlflow.yml` gives them."""
    experiment = _experiment(configuration)
    return str(experiment.get("name")), (experiment.get("create_experiment_kwargs") or {}).get("artifact_location")


def _experiment(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return (configuration.get("tracking") or {}).get("experiment") or {}
