"""Finds defects in photographs of industrial parts after seeing good parts only.

Example:
    >>> from discrepancy import load_detector
    >>> detector = load_detector("data/06_models/demo/cable/<method>/detector/...")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from discrepancy.freed_memory import keep_freed_memory
from discrepancy.lazy_names import lazy_names
from discrepancy.waiting_threads import limit_spinning

if TYPE_CHECKING:
    from discrepancy.fitting import fit_detector
    from discrepancy.loading import load_detector
    from discrepancy.prediction import Detector, Prediction, Predictions, Region

__all__ = ["Detector", "Prediction", "Predictions", "Region", "fit_detector", "load_detector"]

_HOMES: Final = {
    "fit_detector": "discrepancy.fitting",
    "load_detector": "discrepancy.loading",
    **dict.fromkeys(("Detector", "Prediction", "Predictions", "Region"), "discrepancy.prediction"),
}
"""The module of each public name. It is imported when the name is first asked for: PyTorch takes seconds."""


limit_spinning()  # before anything imports PyTorch
keep_freed_memory()

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
