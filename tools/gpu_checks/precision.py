"""The precisions that float32 networks can be run in, set from outside."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MODES = {
    "fp32": (False, False, False),
    "default": (False, True, False),
    "tf32": (True, True, False),
    "bf16": (False, True, True),
}
"""By name: TF32 in matrix products, TF32 in convolutions, autocast to bfloat16. `default` is PyTorch's own."""


@contextmanager
def precision(mode: str) -> Iterator[bool]:
    """Run in a precision; gives whether training is to use autocast. Restores PyTorch's default afterwards."""
    matmul, convolutions, autocast = MODES[mode]
    try:
        _set(matmul, convolutions)
        yield autocast
    finally:
        _set(*MODES["default"][:2])


def _set(matmul: bool, convolutions: bool) -> None:
    with warnings.catch_warnings():  # PyTorch is about to rename these switches; the old ones work in all versions
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = convolutions
