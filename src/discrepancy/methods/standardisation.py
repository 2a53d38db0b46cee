"""Features of mean 0 and deviation 1 per channel on good images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def set_statistics(module: nn.Module, names: Sequence[str], statistics: Mapping[str, tuple[NDArray, NDArray]]) -> None:
    """Fill a module's buffers `mean_0`, `deviation_0`, `mean_1`, ... with statistics of good images.

    Args:
        module: the method.
        names: of the features, in the order of the buffers.
        statistics: mean [C] and deviation [C] of each channel, by name.
    """
    for index, name in enumerate(names):
        mean, deviation = statistics[name]
        for kind, values in (("mean", torch.from_numpy(mean)), ("deviation", clamped_std(deviation))):
            buffer = module.get_buffer(f"{kind}_{index}")
            buffer.copy_(values.view_as(buffer))


def clamped_std(deviation: NDArray) -> Tensor:
    """Return deviations [C] to divide by, float32: at least a tenth of their mean.

    Otherwise a near-constant channel would dominate the map.
    """
    values = torch.as_tensor(deviation, dtype=torch.float32)
    return values.clamp_min(max(0.1 * float(values.mean()), 1e-6))
