"""From residuals to an error map: scaled by their statistics on good images, per channel, content and position.

This is ours, not the papers' (which take raw residuals): a residual counts the more, the rarer it is on good images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.methods.content_scaler import ContentScaler
from discrepancy.methods.smoothing import gaussian_blur
from discrepancy.methods.sums import Sums, sums_of, total

Kind = Literal["raw", "diagonal", "whitened"]

POSITION_SIGMA = 6 / 256
"""Sigma of the Gaussian that smooths the mean normal map, as a share of the shorter side."""


class Compared(NamedTuple):
    """Predicted features and what they miss: for each layer a map [N, C, h, w].

    Attributes:
        residuals: features minus predictions.
        predictions: of the features.
    """

    residuals: Sequence[Tensor]
    predictions: Sequence[Tensor]


class ResidualScaler(nn.Module):
    """Map from residuals to an error map, learnt from good images after training.

    Args:
        channels: of each layer.
        image_size: height and width of the anomaly maps, px.
        kind: `raw` leaves residuals as they are, `diagonal` divides each channel by its deviation on good images.
            `whitened` takes the squared Mahalanobis distance under their covariance, over the number of channels.
        by_content: errors are divided by this power of the usual error of patches with similar predictions (see
            `ContentScaler`); 0: not at all.
        by_position: divide the map by the mean of good images at each position (smoothed); helps if parts are aligned,
            and changes little otherwise.
        align_corners: of the bilinear upsampling.
        cosine: add the cosine distance between feature and prediction to the error.
    """

    position: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        image_size: tuple[int, int],
        *,
        kind: Kind,
        by_content: float,
        by_position: bool,
        align_corners: bool,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        self.kind = kind
        self.by_position = by_position
        self.align_corners = align_corners
        self.cosine = cosine
        if kind != "raw":
            for index, count in enumerate(channels):
                self.register_buffer(f"matrix_{index}", torch.eye(count))
        self.contents = nn.ModuleList(ContentScaler(count, by_content) for count in channels if by_content)
        if by_position:
            self.register_buffer("position", torch.ones(image_size))

    def forward(self, compared: Compared) -> Tensor:
        """Compute error maps [N, H, W], 0 or larger, not yet divided by what is usual at each position."""
        return self.upsampled(self.errors(compared))

    def errors(self, compared: Compared) -> list[Tensor]:
        """Return the error of each layer's patches, [N, h, w]: mean squared residuals, scaled."""
        found = self._unscaled(compared)
        if not self.contents:
            return found
        triples = zip(self.contents, found, compared.predictions, strict=True)
        return [content(error, prediction) for content, error, prediction in triples]

    def _unscaled(self, compared: Compared) -> list[Tensor]:
        """Return the errors [N, h, w] of each layer before they are divided by what is usual there."""
        errors = [self.weighed(index, part).square().mean(1) for index, part in enumerate(compared.residuals)]
        if not self.cosine:
            return errors
        pairs = zip(compared.residuals, compared.predictions, strict=True)
        distances = [
            1 - F.cosine_similarity(residual + prediction, prediction, dim=1) for residual, prediction in pairs
        ]
        return [error + distance for error, distance in zip(errors, distances, strict=True)]

    def weighed(self, index: int, residual: Tensor) -> Tensor:
        """Return the residual of a layer, [N, C, h, w], in units of its usual size on good images."""
        if self.kind == "raw":
            return residual
        return F.conv2d(residual, self.get_buffer(f"matrix_{index}")[:, :, None, None])

    def upsampled(self, errors: Sequence[Tensor]) -> Tensor:
        """Return the sum of the layers' errors [N, h, w], upsampled: [N, H, W].

        Maps of one size are summed before upsampling, which is exact.
        """
        sums: dict[tuple[int, ...], Tensor] = {}
        for error in errors:
            size = tuple(error.shape[-2:])
            sums[size] = sums[size] + error if size in sums else error
        maps = [
            F.interpolate(error[:, None], self.image_size, mode="bilinear", align_corners=self.align_corners)[:, 0]
            for error in sums.values()
        ]
        return maps[0] if len(maps) == 1 else torch.stack(maps).sum(0)

    def relative(self, maps: Tensor) -> Tensor:
        """Divide maps [N, H, W] by the usual value at each position, if `by_position` is set."""
        return maps / self.position if self.by_position else maps

    @torch.no_grad()
    def fit_errors(self, batches: Callable[[], Iterable[Compared]]) -> None:
        """Learn what `errors` needs: the usual residual of each channel, and the usual error of each content.

        Args:
            batches: starts a pass over the good images; called once for matrices and axes, and once for content, as far
                as they are to be learnt.
        """
        if self.kind != "raw" or self.contents:
            self._fit_moments(batches())
        if self.contents:
            regressions = total(self._regression_sums(compared) for compared in batches())
            for content, sums in zip(self._content_scalers, regressions, strict=True):
                content.fit_coefficients(sums)

    def _fit_moments(self, batches: Iterable[Compared]) -> None:
        """Learn the matrices and the principal axes of the predictions, in one pass."""
        contents = self._content_scalers
        found = total(
            [sums_of(values) for values in (*compared.residuals, *(compared.predictions if contents else ()))]
            for compared in batches
        )
        layers = len(found) - len(contents)
        if self.kind != "raw":
            for index, sums in enumerate(found[:layers]):
                self.get_buffer(f"matrix_{index}").copy_(weighing_matrix(sums.second / sums.patches, self.kind))
        for content, sums in zip(contents, found[layers:], strict=True):
            content.fit_axes(sums)

    def _regression_sums(self, compared: Compared) -> list[Sums]:
        triples = zip(self._content_scalers, self._unscaled(compared), compared.predictions, strict=True)
        return [content.regression_sums(error, prediction) for content, error, prediction in triples]

    @property
    def _content_scalers(self) -> list[ContentScaler]:
        return [content for content in self.contents if isinstance(content, ContentScaler)]

    @torch.no_grad()
    def fit_position(self, batches: Iterable[Tensor]) -> None:
        """Learn the usual value at each position, from maps [N, H, W] of good images that are not divided yet."""
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
