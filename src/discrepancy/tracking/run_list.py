"""The columns that MLflow's run list shows by default: those by which detectors are compared."""

from __future__ import annotations

import json
from typing import Any, Final

VIEW: Final = "detectors"
"""End of the list's address: `...?viewStateShareKey=detectors`."""
_TAG: Final = f"mlflow.sharedViewState.{VIEW}"
_COLUMNS: Final = (
    ("attributes", "Dataset"),
    ("attributes", "Models"),
    ("tags", "backbone"),
    ("tags", "seed"),
    ("metrics", "image_auroc"),
    ("metrics", "pixel_auroc"),
    ("metrics", "aupro_0.30"),
)


def offer_view(client: Any, experiment: Any) -> None:
    """Have MLflow offer a view named `Detectors` of the experiment's runs; of such views it keeps tags.

    Args:
        client: MLflow's.
        experiment: with its tags as they are.
    """
    if experiment.tags.get(_TAG) != _view():
        client.set_experiment_tag(experiment.experiment_id, _TAG, _view())


def _view() -> str:
    state = {"selectedColumns": [f"{kind}.`{name}`" for kind, name in _COLUMNS]}
    return json.dumps({"name": "Detectors", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})
