"""Scaling of errors by what is usual for such a patch: some patches of good parts are harder to predict than others.

This is ours, not the papers'. The size of residuals goes with contrast, texture and exposure of what is there. So the
logarithm of a good patch's error is regressed on its prediction: on few principal components and their squares. It is
the prediction that decides, not the feature, since a defect must not explain itself. But large defects are predicted
unlike any good patch, and dividing by all of what the regression says would hide some of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.methods.sums import Sums

COMPONENTS = 8
"""Principal components of the predictions, at most."""
FURTHEST = 4.0
"""Components are clamped to so many deviations: the regression is not followed beyond the good patches."""
RANGE = 2.5
"""Largest difference between the logarithm of a divisor and its mean level."""
RIDGE = 1e-3
"""Ridge of the regression, per patch."""
SMALLEST = 1e-6
"""Errors are at least this large before the logarithm is taken."""


class ContentScaler(nn.Module):
    """Divide the errors of a layer by a power of what is usual for patches that are predicted alike.

    Before it has learnt, it leaves errors as they are.

    Args:
        channels: C, of the predictions.
        power: above 0, at most 1; it is that of the usual error over its mean level.

    Attributes:
        centre: mean prediction, [C].
        axes: principal axes over the deviation along each, [q, C].
        coefficients: of the logarithm of what errors are divided by: constant, components, their squares, [1 + 2q].
    """

    centre: Tensor
    axes: Tensor
    coefficients: Tensor

    def __init__(self, channels: int, power: float) -> None:
        super().__init__()
        self.power = power
        components = min(COMPONENTS, channels)
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("axes", torch.zeros(components, channels))
        self.register_buffer("coefficients", torch.zeros(1 + 2 * components))

    def forward(self, errors: Tensor, predictions: Tensor) -> Tensor:
        """Return errors [N, h, w] of predictions [N, C, h, w], divided by the power of what is usual for these."""
        level = self.coefficients[0]
        usual = torch.einsum("d,ndhw->nhw", self.coefficients, self.regressors(predictions))
        return errors * torch.exp(-usual.clamp(level - RANGE, level + RANGE))

    def regressors(self, predictions: Tensor) -> Tensor:
        """Return constant, components and their squares less 1, [N, 1 + 2q, h, w], of predictions [N, C, h, w]."""
        weight = self.axes[:, :, None, None]
        components = F.conv2d(predictions, weight, -self.axes @ self.centre).clamp(-FURTHEST, FURTHEST)
        return torch.cat([torch.ones_like(components[:, :1]), components, components.square() - 1], 1)

    @torch.no_grad()
    def fit_axes(self, sums: Sums) -> None:
        """Learn the principal axes from sums of good patches' predictions, [C] and [C, C], float64."""
        centre = sums.first / sums.patches
        covariance = sums.second / sums.patches - torch.outer(centre, centre)
        values, vectors = torch.linalg.eigh(covariance)  # ascending
        count = len(self.axes)
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
        known = values > 1e-6 * values[0].clamp_min(1e-12)  # along the others predictions do not vary
        scale = torch.where(known, values.clamp_min(1e-12).rsqrt(), torch.zeros_like(values))
        self.centre.copy_(centre)
        self.axes.copy_((vectors * scale).T)

    @torch.no_grad()
    def fit_coefficients(self, sums: Sums) -> None:
        """Learn the regression from sums of regressors times log errors, [d], and times each other, [d, d], float64."""
        ridge = RIDGE * sums.patches * torch.eye(len(sums.first), dtype=sums.second.dtype)
        ridge[0, 0] = 0.0
        solved = torch.linalg.solve(sums.second + ridge, sums.first)
        solved[1:] *= self.power
        self.coefficients.copy_(solved)

    def regression_sums(self, errors: Tensor, predictions: Tensor) -> Sums:
        """Return the sums of `fit_coefficients` of errors [N, h, w] and predictions [N, C, h, w]."""
        rows = self.regressors(predictions).transpose(0, 1).flatten(1)
        targets = errors.clamp_min(SMALLEST).log().flatten()
        return Sums(rows.shape[1], (rows @ targets).double().cpu(), (rows @ rows.T).double().cpu())
