"""Detectors as models of MLflow: logged with their run, registered under a name, and found again by their address."""

from __future__ import annotations

import atexit
import json
import logging
import re
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

from discrepancy.detection.storage import CARD
from discrepancy.errors import InputError
from discrepancy.methods.base import Method
from discrepancy.methods.card import Card
from discrepancy.tracking.address import current_address
from discrepancy.tracking.model_folder import DETECTOR, NETWORK, write_model

logger = logging.getLogger(__name__)

CANDIDATE: Final = "candidate"
"""Alias of the newest version in the registry. `champion` is for people to set."""
LOOSE: Final = "detector"
"""Last part of `runs:/<id>/detector`: the run's model, or the folder that runs had before they had models."""
_EXPECTED: Final = (
    "expected a model of this project, such as models:/dfc-demo-cable@champion, or runs:/<run id>/detector; docs/"
    "tracking.md lists the forms"
)


def log_model(client: Any, run_id: str, folder: Path, method: Method) -> str:
    """Log a detector as a model of a run; return the model's id.

    Args:
        client: MLflow's.
        run_id: of the run, in progress.
        folder: the detector as it was saved.
        method: the same detector.
    """
    from mlflow.entities import LoggedModelOutput

    experiment = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(
        experiment, name=method.name, source_run_id=run_id, params=_described(method.card), model_type="detector"
    )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    with TemporaryDirectory() as temporary:
        write_model(Path(temporary), folder, method, run_id=run_id, model_id=logged.model_id)
        client.log_model_artifacts(logged.model_id, temporary)
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def _described(card: Card) -> dict[str, str]:
    """Return what tells models apart, for the columns and the search of MLflow's Models page."""
    height, width = card.image_size
    return {
        "method": card.method,
        "dataset": card.dataset,
        "category": card.category,
        "backbone": card.backbone.backbone,
        "image_size": f"{height}x{width}",
    }


def register_model(client: Any, model_id: str) -> str:
    """Make a logged model the newest version under its name in the registry, with the alias `candidate`.

    Args:
        client: MLflow's.
        model_id: of a model that `log_model` has logged.

    Returns:
        The address `models:/<method>-<dataset>-<category>@candidate`.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    logged = client.get_logged_model(model_id)
    name = registered_name(*(logged.params[key] for key in ("method", "dataset", "category")))
    with suppress(MlflowException):  # of this name there is one already, or another process is just making it
        client.create_registered_model(name)
    version = client.create_model_version(
        name, f"models:/{model_id}", run_id=logged.source_run_id, tags=dict(logged.params), model_id=model_id
    )
    client.set_registered_model_alias(name, CANDIDATE, version.version)
    known = [{"name": name, "version": version.version}]
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(known)})  # the Models page shows it
    logger.info("registered as version %s of %s", version.version, name)
    return f"models:/{name}@{CANDIDATE}"


def registered_name(method: str, dataset: str, category: str) -> str:
    """Return a detector's name in the registry; what MLflow refuses, or misreads in an address, becomes `_`."""
    return re.sub(r"[^\w\-. ]", "_", f"{method}-{dataset}-{category}")


def download(place: str) -> tuple[Path, str | None]:
    """Fetch a detector that MLflow keeps. One on this machine's disk is used where it lies.

    Args:
        place: `models:/<name>@<alias>`, `models:/<name>/<version>`, `models:/<model id>`, `runs:/<run id>/detector` or
            `runs:/<run id>/<method>`.

    Returns:
        The folder with the card, and the file with the frozen network's weights; None for a run that has no model, but
        a mere folder `detector`.

    Raises:
        InputError: there is no such detector, or MLflow cannot be reached.
    """
    from mlflow import MlflowClient

    address = current_address()
    if address is None:
        raise InputError(
            f"{place}: MLflow's database is not known; expected the current folder in a project that has runs, or "
            "MLFLOW_TRACKING_URI set"
        )
    try:
        client = MlflowClient(address, registry_uri=address)
        find = _in_run if place.startswith("runs:/") else _in_registry
        folder, network = find(client, place)
    except Exception as error:  # a database and a server fail in a dozen ways
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{place}: not found in MLflow at {address} ({reason}); {_EXPECTED}") from error
    if not (folder / CARD).is_file():
        raise InputError(f"{place}: there is no {CARD} in it; {_EXPECTED}")
    return folder, None if network is None else str(network)


def _in_registry(client: Any, place: str) -> tuple[Path, Path | None]:
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    found = get_model_name_and_version(client, place.rstrip("/"))
    if len(found) == 1:
        return _of_model(client.get_logged_model(found[0]).artifact_location, client.tracking_uri)
    return _of_model(client.get_model_version_download_uri(*found), client.tracking_uri)


def _in_run(client: Any, place: str) -> tuple[Path, Path | None]:
    run_id, _, name = place.removeprefix("runs:/").strip("/").partition("/")
    run = client.get_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    for output in reversed(outputs):
        model = client.get_logged_model(output.model_id)
        if name in (model.name, LOOSE):
            return _of_model(model.artifact_location, client.tracking_uri)
    return _fetched(run.info.artifact_uri, name, client.tracking_uri), None


def _of_model(location: str, tracking_uri: str) -> tuple[Path, Path | None]:
    """Return detector and network in a model's folder, wherever that is."""
    inner = Path(DETECTOR).parent
    folder = _fetched(location, inner.as_posix(), tracking_uri)
    return folder / Path(DETECTOR).name, folder / Path(NETWORK).name


def _fetched(location: str, name: str, tracking_uri: str) -> Path:
    """Return where a folder of MLflow's files lies on this machine, or a copy that lasts as long as the process."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = get_artifact_repository(location, tracking_uri=tracking_uri)
    if isinstance(repository, LocalArtifactRepository):
        return Path(repository.download_artifacts(name))
    target = mkdtemp(prefix="discrepancy-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    return Path(repository.download_artifacts(name, target))
