"""Code of every logged model: MLflow copies this file into the model and runs it on loading, so there is no pickle.

What it imports of this package is in the model, too; a process that has imported the package already keeps its own.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from discrepancy.errors import InputError
from discrepancy.loading import load_detector
from discrepancy.prediction import Prediction, Unreadable

_EXPECTED = "bytes of an image file, the same as base64 text, or an array uint8 [h, w, 3], RGB"


class ServedDetector(PythonModel):
    """A detector behind MLflow's interface: a table of photographs in, a table of scores and decisions out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector, with the frozen network's weights from the model."""
        self._detector = load_detector(context.artifacts["detector"], weights=context.artifacts["network"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return a row for each photograph: `score`, `decision`, `threshold` and more; `map` if asked for.

        `relative_score` is score / threshold. `false_alarm_probability` is the share of good parts that are expected
        to score at least so high.

        Args:
            context: of MLflow.
            model_input: column `image`: each value bytes of an encoded image, those bytes as base64 text, or an array
                uint8 [h, w, 3] or [h, w], RGB, possibly as nested lists.
            params: `maps` adds the anomaly maps, float32 [h, w], of the photographs' sizes.

        Raises:
            InputError: a photograph cannot be read; the message names its row.
        """
        images = [_image(value, row) for row, value in zip(model_input.index, model_input["image"], strict=True)]
        maps = bool((params or {}).get("maps"))
        results = list(self._detector.examine(images, _itself))
        rows = [_row(result, row, maps) for row, result in zip(model_input.index, results, strict=True)]
        columns = [*COLUMNS, *(["map"] if maps else [])]
        return pd.DataFrame(rows, columns=columns, index=model_input.index)


COLUMNS = ("score", "decision", "threshold", "relative_score", "false_alarm_probability")


def _image(value: Any, row: Any) -> bytes | np.ndarray:
    """Return what a table holds as the detector takes it. Text never names a file: a client may not read a server's."""
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
        if isinstance(value, list):
            return _of_numbers(np.array(value))
    except ValueError as error:
        raise InputError(f"image in row {row}: {error}; expected {_EXPECTED}") from error
    if isinstance(value, bytes):
        return _file(value)
    if not isinstance(value, np.ndarray):
        raise InputError(f"image in row {row}: a {type(value).__name__}; expected {_EXPECTED}")
    return value


def _file(content: bytes) -> bytes:
    """Return the bytes of a file, which may still be base64: MLflow decodes that of `dataframe_*`, not of `inputs`."""
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:  # no image file consists of base64's characters alone
        return content


def _of_numbers(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind not in "iu" or not ((pixels >= 0) & (pixels <= 255)).all():
        raise ValueError("numbers outside 0 to 255, or no whole ones")
    return pixels.astype(np.uint8)


def _row(result: Prediction | Unreadable, row: Any, maps: bool) -> list[Any]:
    if isinstance(result, Unreadable):
        raise InputError(f"image in row {row}: {result.reason}")
    values: list[Any] = [getattr(result, name) for name in COLUMNS]
    return [*values, result.map] if maps else values


def _itself(result: Any) -> Any:
    return result


set_model(ServedDetector())
