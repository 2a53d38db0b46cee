"""Scaling of residuals by their statistics on good images, per channel, jointly, and per position.

This is ours, not the paper's (which takes raw residuals): a residual counts the more, the rarer it is on good images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.methods.smoothing import gaussian_blur

Kind = Literal["raw", "diagonal", "whitened"]
Residuals = Sequence[Tensor]
"""One map [N, C, h, w] per layer."""

POSITION_SIGMA = 6 / 256
"""Sigma of the Gaussian that smooths the mean normal map, as a share of the shorter side."""


class ResidualScaler(nn.Module):
    """Map from residuals to an error map, learnt from good images after training.

    Args:
        channels: of each layer.
        image_size: height and width of the anomaly maps, px.
        kind: `raw` leaves residuals as they are, `diagonal` divides each channel by its deviation on good images.
            `whitened` takes the squared Mahalanobis distance under their covariance, over the number of channels.
        by_position: divide the map by the mean of good images at each position (smoothed); helps if parts are aligned,
            and changes little otherwise.
        align_corners: of the bilinear upsampling.
    """

    position: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        image_size: tuple[int, int],
        *,
        kind: Kind,
        by_position: bool,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        self.kind = kind
        self.by_position = by_position
        self.align_corners = align_corners
        if kind != "raw":
            for index, count in enumerate(channels):
                self.register_buffer(f"matrix_{index}", torch.eye(count))
        if by_position:
            self.register_buffer("position", torch.ones(image_size))

    def forward(self, residuals: Residuals) -> Tensor:
        """Compute error maps of residuals, one [N, C, h, w] per layer -> [N, H, W], 0 or larger."""
        return self.relative(self._sum(residuals))

    def relative(self, maps: Tensor) -> Tensor:
        """Divide maps [N, H, W] by the usual value at each position, if `by_position` is set."""
        return maps / self.position if self.by_position else maps

    def _sum(self, residuals: Residuals) -> Tensor:
        """Return the mean squared residual per layer, upsampled and summed.

        Maps of one size are summed before upsampling, which is exact.
        """
        sums: dict[tuple[int, ...], Tensor] = {}
        for index, residual in enumerate(residuals):
            error = self.weighed(index, residual).square().mean(1, keepdim=True)
            size = tuple(error.shape[-2:])
            sums[size] = sums[size] + error if size in sums else error
        maps = [
            F.interpolate(error, self.image_size, mode="bilinear", align_corners=self.align_corners).squeeze(1)
            for error in sums.values()
        ]
        return maps[0] if len(maps) == 1 else torch.stack(maps).sum(0)

    def weighed(self, index: int, residual: Tensor) -> Tensor:
        """Return the residual of a layer, [N, C, h, w], in units of its usual size on good images."""
        if self.kind == "raw":
            return residual
        return F.conv2d(residual, self.get_buffer(f"matrix_{index}")[:, :, None, None])

    @torch.no_grad()
    def fit(self, batches: Callable[[], Iterable[Residuals]]) -> None:
        """Learn from the residuals of good images.

        Args:
            batches: starts a pass over the good images; yields their residuals. Called once or twice.
        """
        if self.kind != "raw":
            self.fit_matrices(batches())
        if self.by_position:
            self.fit_position(self._sum(residuals) for residuals in batches())

    @torch.no_grad()
    def fit_matrices(self, batches: Iterable[Residuals]) -> None:
        """Learn the usual residual of each channel from good images."""
        moments: dict[int, Tensor] = {}
        positions: dict[int, int] = {}
        for residuals in batches:
            for index, residual in enumerate(residuals):
                flat = residual.transpose(0, 1).flatten(1)
                # Products in float32, sums over batches in float64.
                moments[index] = moments.get(index, 0) + (flat @ flat.T).double().cpu()
                positions[index] = positions.get(index, 0) + flat.shape[1]
        for index, moment in moments.items():
            self.get_buffer(f"matrix_{index}").copy_(weighing_matrix(moment / positions[index], self.kind))

    @torch.no_grad()
    def fit_position(self, batches: Iterable[Tensor]) -> None:
        """Learn the usual value at each position, from maps [N, H, W] of good images before normalisation."""
        total, count = torch.zeros(self.image_size, dtype=torch.float64), 0
        for maps in batches:
            total += maps.sum(0).double().cpu()
            count += len(maps)
        self.position.copy_(position_scale(total / count))


def weighing_matrix(moment: Tensor, kind: Kind) -> Tensor:
    """Return the matrix W [C, C] that scales residuals r: the error is |W r|^2 / C.

    Args:
        moment: second moments of the residual on good images, [C, C], float64.
        kind: `diagonal`: W = diag(M)^(-1/2); `whitened`: W = L^(-1), L L^T = M + a hundredth of its mean diagonal.
    """
    if kind == "diagonal":
        return torch.diag(moment.diagonal().clamp_min(1e-8).rsqrt()).float()
    ridge = 1e-2 * moment.diagonal().mean().clamp_min(1e-8) * torch.eye(len(moment), dtype=moment.dtype)
    return torch.linalg.inv(torch.linalg.cholesky(moment + ridge)).float()


def position_scale(mean_map: Tensor) -> Tensor:
    """Return the usual value at each position: the smoothed mean map of good images plus half its mean.

    The added half bounds the gain.

    Args:
        mean_map: mean over good images of the error map, [H, W], 0 or larger.
    """
    smooth = gaussian_blur(mean_map[None], POSITION_SIGMA * min(mean_map.shape))[0]
    return (smooth + 0.5 * smooth.mean()).clamp_min(1e-12).float()
