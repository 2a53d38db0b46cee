"""Weighing of residuals against its definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from discrepancy.methods.residual_scaler import Compared, ResidualScaler, position_scale, weighing_matrix

SIZES = [(6, 8, 8), (5, 4, 4), (4, 4, 4)]


def residuals(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    mix = [torch.randn(c, c, generator=torch.Generator().manual_seed(7 + c)) for c, _, _ in SIZES]
    return [
        torch.einsum("dc,nchw->ndhw", m, torch.randn(count, *size, generator=generator))
        for m, size in zip(mix, SIZES, strict=True)
    ]


def compared(seed, count=6):
    """Return residuals beside predictions of the same shapes, which do not matter unless content does."""
    return Compared(residuals(seed, count), residuals(seed + 100, count))


def weighing(**changes):
    options = {"kind": "raw", "by_content": 0.0, "by_position": False, "align_corners": False, **changes}
    return ResidualScaler([c for c, _, _ in SIZES], (32, 32), **options)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("kind", ["raw", "diagonal", "whitened"])
def test_the_map_adds_upsampled_mean_squares_layer_by_layer(kind, align_corners):
    module = weighing(kind=kind, align_corners=align_corners)
    module.fit_errors(lambda: [compared(0), compared(1)])
    expected = torch.zeros(6, 32, 32)
    for i, residual in enumerate(residuals(2)):
        matrix = torch.eye(residual.shape[1]) if kind == "raw" else module.get_buffer(f"matrix_{i}")
        weighed = torch.einsum("dc,nchw->ndhw", matrix, residual)
        error = (weighed**2).sum(1, keepdim=True) / weighed.shape[1]
        expected += F.interpolate(error, (32, 32), mode="bilinear", align_corners=align_corners)[:, 0]
    torch.testing.assert_close(module(compared(2)), expected, rtol=1e-4, atol=1e-4)


def test_whitening_is_the_mahalanobis_distance_over_all_batches():
    module = weighing(kind="whitened")
    module.fit_errors(lambda: [compared(0), compared(1)])
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
    module.fit_position([module(compared(0)), module(compared(1))])
    mean = torch.cat([plain(compared(0)), plain(compared(1))]).double().mean(0).numpy()
    smooth = gaussian_filter(mean, 6 / 256 * 32, mode="mirror", truncate=4.0)
    expected = plain(compared(2)).numpy() / (smooth + 0.5 * smooth.mean())
    np.testing.assert_allclose(module.relative(module(compared(2))).numpy(), expected, rtol=1e-3)
    assert torch.equal(plain.relative(plain(compared(2))), plain(compared(2)))


def test_a_spot_that_is_always_odd_counts_for_less_but_not_for_nothing():
    mean = torch.ones(64, 64, dtype=torch.float64)
    mean[20:40, 20:40] = 5
    scale = position_scale(mean)
    assert 2 < scale[30, 30] / scale[2, 2] < 5
    assert position_scale(torch.zeros(64, 64, dtype=torch.float64)).min() > 0


def test_without_learning_all_residuals_count_alike():
    fresh = weighing(kind="whitened", by_content=1.0, by_position=True)
    torch.testing.assert_close(fresh.relative(fresh(compared(3))), weighing()(compared(3)))
    raw = weighing()
    raw.fit_errors(lambda: pytest.fail("raw residuals need no pass"))
    assert raw.state_dict() == {}


def test_cosine_adds_the_angle_between_feature_and_prediction():
    both = compared(5)
    found = weighing(cosine=True).errors(both)
    for error, plain, residual, prediction in zip(found, weighing().errors(both), *both, strict=True):
        feature = residual + prediction
        norms = feature.norm(dim=1) * prediction.norm(dim=1)
        torch.testing.assert_close(error, plain + 1 - (feature * prediction).sum(1) / norms, rtol=1e-4, atol=1e-4)


def test_patches_that_are_hard_to_predict_are_judged_by_their_like():
    """Residuals three times as large where the prediction says so: their errors come to the level of the others."""
    generator = torch.Generator().manual_seed(3)

    def batch(count=8):
        predictions = torch.randn(count, 4, 8, 8, generator=generator)
        bright = (torch.rand(count, 1, 8, 8, generator=generator) < 0.3).float()
        predictions[:, :1] = 5 * bright + 0.2 * predictions[:, :1]
        return Compared([torch.randn(count, 4, 8, 8, generator=generator) * (1 + 2 * bright)], [predictions]), bright

    good = [batch()[0] for _ in range(6)]
    modules = [
        ResidualScaler([4], (8, 8), kind="whitened", by_position=False, align_corners=False, by_content=by)
        for by in (0.0, 1.0)
    ]
    ratios = []
    new, bright = batch(64)
    for module in modules:
        module.fit_errors(lambda: good)
        errors = module.errors(new)[0]
        ratios.append(float(errors[bright[:, 0] > 0].mean() / errors[bright[:, 0] == 0].mean()))
    assert 7 < ratios[0] < 11 and 0.8 < ratios[1] < 1.25
    # What is odd about the feature does not excuse itself: the usual error follows from the prediction alone.
    defect = Compared([new.residuals[0] + 10], new.predictions)
    usual = modules[1]._unscaled(defect)[0] / modules[1].errors(defect)[0]
    torch.testing.assert_close(usual, modules[1]._unscaled(new)[0] / modules[1].errors(new)[0], rtol=1e-4, atol=1e-5)
