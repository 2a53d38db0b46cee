"""Standard deviations of features that are safe to divide by."""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor


def clamped_std(deviation: NDArray) -> Tensor:
    """Return deviations [C] to divide by, float32: at least a tenth of their mean.

    Otherwise a near-constant channel would dominate the map.
    """
    values = torch.as_tensor(deviation, dtype=torch.float32)
    return values.clamp_min(max(0.1 * float(values.mean()), 1e-6))
