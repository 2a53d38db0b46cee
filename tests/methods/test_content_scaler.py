"""The usual error of patches that are predicted alike, against scikit-learn's regression."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from discrepancy.methods.content_scaler import COMPONENTS, RANGE, RIDGE, ContentScaler
from discrepancy.methods.sums import sums_of, total


def patches(count, seed, channels=12):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, channels, generator=torch.Generator().manual_seed(9))
    predictions = torch.einsum("dc,nchw->ndhw", mix, torch.randn(count, channels, 6, 5, generator=generator)) + 3
    errors = torch.exp(0.1 * predictions[:, 0] + 0.3 * torch.randn(count, 6, 5, generator=generator))
    return errors, predictions


def fitted(batches, power=1.0):
    scaler = ContentScaler(batches[0][1].shape[1], power)
    scaler.fit_axes(total([sums_of(predictions)] for _, predictions in batches)[0])
    scaler.fit_coefficients(total([scaler.regression_sums(*batch)] for batch in batches)[0])
    return scaler


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_it_is_a_ridge_regression_on_principal_components_and_their_squares(power):
    batches = [patches(4, seed) for seed in range(5)]
    scaler = fitted(batches, power)
    rows = torch.cat([predictions for _, predictions in batches]).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    targets = torch.cat([errors for errors, _ in batches]).flatten().double().log().numpy()
    components = PCA(COMPONENTS, svd_solver="full").fit(rows)

    def regressors(values):
        scores = components.transform(values) / np.sqrt(components.explained_variance_ * (1 - 1 / len(rows)))
        scores = scores.clip(-4, 4)
        return np.hstack([scores, scores**2 - 1])

    found = regressors(rows)
    # scikit-learn leaves the constant out of the penalty by centring, as the normal equations here do.
    ridge = Ridge(alpha=RIDGE * len(rows)).fit(found, targets)
    errors, predictions = patches(3, 99)
    new = predictions.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    usual = ridge.intercept_ + power * (ridge.predict(regressors(new)) - ridge.intercept_)
    expected = errors.flatten().numpy() / np.exp(usual)
    np.testing.assert_allclose(scaler(errors, predictions).flatten().numpy(), expected, rtol=5e-3)


def test_fresh_it_changes_nothing():
    errors, predictions = patches(2, 0)
    torch.testing.assert_close(ContentScaler(12, 1.0)(errors, predictions), errors)


def test_the_usual_error_stays_in_its_range_however_odd_the_prediction():
    scaler = fitted([patches(8, 0)])
    errors, predictions = patches(2, 1)
    usual = torch.log(errors / scaler(errors, 1e4 * predictions)) - scaler.coefficients[0]
    assert usual.abs().max() <= RANGE + 1e-4


def test_constant_predictions_leave_the_mean_level():
    errors, predictions = patches(8, 0)
    scaler = fitted([(errors, torch.full_like(predictions, 2.0))])
    torch.testing.assert_close(
        scaler(errors, torch.full_like(predictions, 2.0)), errors / errors.log().mean().exp(), rtol=1e-3, atol=1e-4
    )


def test_fewer_channels_than_components():
    errors, predictions = patches(4, 0, channels=3)
    assert fitted([(errors, predictions)]).axes.shape == (3, 3)
