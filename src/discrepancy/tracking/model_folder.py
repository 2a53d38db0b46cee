"""A model's folder as MLflow loads it: the detector, the frozen network's weights, code, signature and requirements.

It is written here, not by `mlflow.pyfunc.save_model`, which reads the metadata of every installed package first: that
takes longer than some trainings.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pandas as pd
import yaml
from PIL import Image
from safetensors.torch import save_file

import discrepancy
from discrepancy.features.backbones import weights_file
from discrepancy.methods.base import Method
from discrepancy.tracking.requirements import requirements

DETECTOR: Final = "artifacts/detector"
"""Folder in a model's folder: card and learnt weights."""
NETWORK: Final = "artifacts/network.safetensors"
"""File in a model's folder: the frozen network's weights, as far as they are used."""
LEFT_OUT: Final = ("benchmark", "datasets", "demo", "download", "pipelines", "tracking")
"""Parts of the package without which a detector predicts."""
_CODE: Final = "code"
_SCRIPT: Final = "served.py"
_PACKAGE: Final = Path(discrepancy.__file__).parent


def write_model(target: Path, folder: Path, method: Method, *, run_id: str, model_id: str) -> None:
    """Write a model's folder.

    Args:
        target: an empty folder.
        folder: the detector as it was saved; its files are linked where the file system can.
        method: the same detector.
        run_id: of MLflow's run.
        model_id: of MLflow's model.
    """
    import mlflow.pyfunc
    from mlflow.models import Model
    from mlflow.models.utils import _save_example

    shutil.copytree(folder, target / DETECTOR, copy_function=_link)
    save_file(weights_file(method.backbone), target / NETWORK)
    shutil.copytree(_PACKAGE, target / _CODE / _PACKAGE.name, ignore=_left_out)
    shutil.copyfile(_PACKAGE / "tracking" / _SCRIPT, target / _SCRIPT)
    (target / "requirements.txt").write_text("\n".join(requirements(method.name)) + "\n")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    (target / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
    model = Model(run_id=run_id, model_uuid=model_id, model_id=model_id, signature=_signature())
    _save_example(model, _example(method), str(target))
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="mlflow.pyfunc.loaders.code_model",
        code=_CODE,
        python_env="python_env.yaml",
        model_code_path=_SCRIPT,
        artifacts={"detector": {"path": DETECTOR}, "network": {"path": NETWORK}},
    )
    model.model_size_bytes = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    model.save(target / "MLmodel")


def _left_out(folder: str, names: Iterable[str]) -> set[str]:
    """Return which of the package's files are not copied."""
    return {"__pycache__", *(LEFT_OUT if Path(folder) == _PACKAGE else ())} & set(names)


def _signature() -> Any:
    """Return types of input, output and parameters.

    A column of binary type is the one form in which MLflow passes on both arrays and bytes, and decodes JSON's base64.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array

    results: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, "score"),
        ColSpec(DataType.string, "decision"),
        ColSpec(DataType.double, "threshold"),
        ColSpec(DataType.double, "relative_score"),
        ColSpec(DataType.double, "false_alarm_probability"),
        ColSpec(Array(Array(DataType.float)), "map", required=False),
    ]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(results),
        params=ParamSchema([ParamSpec("maps", DataType.boolean, default=False)]),
    )


def _example(method: Method) -> pd.DataFrame:
    """Return a grey photograph of the detector's size as a PNG file: an example without anybody's data."""
    height, width = method.image_size
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (127, 127, 127)).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})


def _link(source: str, target: str) -> None:
    """Make a hard link where the file system has them: a memory bank may be large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
