"""Weighing of residuals against its definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from discrepancy.methods.residual_scaler import ResidualScaler, position_scale, weighing_matrix

SIZES = [(6, 8, 8), (5, 4, 4), (4, 4, 4)]


def residuals(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    mix = [torch.randn(c, c, generator=torch.Generator().manual_seed(7 + c)) for c, _, _ in SIZES]
    return [
        torch.einsum("dc,nchw->ndhw", m, torch.randn(count, *size, generator=generator))
        for m, size in zip(mix, SIZES, strict=True)
    ]


def weighing(**changes):
    options = {"kind": "raw", "by_position": False, "align_corners": False, **changes}
    return ResidualScaler([c for c, _, _ in SIZES], (32, 32), **options)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("kind", ["raw", "diagonal", "whitened"])
def test_the_map_adds_upsampled_mean_squares_layer_by_layer(kind, align_corners):
    module = weighing(kind=kind, align_corners=align_corners)
    module.fit(lambda: [residuals(0), residuals(1)])
    expected = torch.zeros(6, 32, 32)
    for i, residual in enumerate(residuals(2)):
        matrix = torch.eye(residual.shape[1]) if kind == "raw" else module.get_buffer(f"matrix_{i}")
        weighed = torch.einsum("dc,nchw->ndhw", matrix, residual)
        error = (weighed**2).sum(1, keepdim=True) / weighed.shape[1]
        expected += F.interpolate(error, (32, 32), mode="bilinear", align_corners=align_corners)[:, 0]
    torch.testing.assert_close(module(residuals(2)), expected, rtol=1e-4, atol=1e-4)


def test_whitening_is_the_mahalanobis_distance_over_all_batches():
    module = weighing(kind="whitened")
    module.fit(lambda: [residuals(0), residuals(1)])
    for i, (one, two) in enumerate(zip(residuals(0), residuals(1), strict=True)):
        flat = torch.cat([one, two]).transpose(0, 1).flatten(1).double().numpy()
        moment = flat @ flat.T / flat.shape[1]
        moment += 0.01 * np.diag(moment).mean() * np.eye(len(moment))
        matrix = module.get_buffer(f"matrix_{i}").double().numpy()
        np.testing.assert_allclose(matrix.T @ matrix, np.linalg.inv(moment), rtol=1e-3, atol=1e-5)


def test_diagonal_divides_by_the_deviation():
    moment = torch.tensor([[4.0, 1.0], [1.0, 9.0]], dtype=torch.float64)
    torch.testing.assert_close(weighing_matrix(moment, "diagonal"), torch.diag(torch.tensor([1 / 2, 1 / 3])))


def test_by_position_divides_by_the_smoothed_mean_map_of_good_images():
    module, plain = weighing(by_position=True), weighing()
    module.fit(lambda: [residuals(0), residuals(1)])
    mean = torch.cat([plain(residuals(0)), plain(residuals(1))]).double().mean(0).numpy()
    smooth = gaussian_filter(mean, 6 / 256 * 32, mode="mirror", truncate=4.0)
    expected = plain(residuals(2)).numpy() / (smooth + 0.5 * smooth.mean())
    np.testing.assert_allclose(module(residuals(2)).numpy(), expected, rtol=1e-3)


def test_a_spot_that_is_always_odd_counts_for_less_but_not_for_nothing():
    mean = torch.ones(64, 64, dtype=torch.float64)
    mean[20:40, 20:40] = 5
    scale = position_scale(mean)
    assert 2 < scale[30, 30] / scale[2, 2] < 5
    assert position_scale(torch.zeros(64, 64, dtype=torch.float64)).min() > 0


def test_without_learning_all_residuals_count_alike():
    fresh = weighing(kind="whitened", by_position=True)
    torch.testing.assert_close(fresh(residuals(3)), weighing()(residuals(3)))
    raw = weighing()
    raw.fit(lambda: pytest.fail("raw residuals need no pass"))
    assert raw.state_dict() == {}
