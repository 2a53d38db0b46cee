"""The packages that a logged model needs, in the versions that are installed here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from packaging.version import Version

from discrepancy.methods.registry import METHODS

INFERENCE: Final = (
    "mlflow-skinny",  # loads and serves models; the rest of mlflow is its tracking server
    "filelock",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pydantic",
    "requests",
    "safetensors",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
    "tqdm",
)
"""Distributions that are imported when a detector is loaded and predicts."""


def requirements(method: str) -> list[str]:
    """Return pip requirements, pinned: `torch==2.11.0`, without the local part of a build for some CUDA.

    Args:
        method: name of the method; one from another package adds that package.
    """
    package = METHODS.package(method)
    names = [*INFERENCE, *([package] if package else [])]
    return [f"{name}=={Version(version(name)).public}" for name in names]
