"""AUPRO as the papers' programs compute it, against their loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.metrics import aupro, aupro_as_published, ranks
from tests.metrics import naive_metrics as naive
from tests.metrics.test_overlap import maps_and_masks


def same(found, expected):
    return found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(maps_and_masks(), st.sampled_from([1, 2, 7, 40]), st.sampled_from([0.05, 0.30, 1.0]))
def test_equals_the_papers_loop(pair, steps, limit):
    expected = naive.aupro_as_published(*pair, limit, steps)
    assert same(aupro_as_published(*pair, fpr_limit=limit, steps=steps), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [None, 12])
def test_equals_the_papers_loop_on_smooth_maps_read_in_pieces(levels, dtype, monkeypatch):
    maps, masks, _ = naive.made_maps(levels=levels, images=5, size=20, with_mask=3)
    maps = maps.astype(dtype)
    masks[0, 4:11, 4:11] = True
    masks[0, 6:9, 6:9] = False
    masks[0, 7, 7] = True  # a region in the hole of another
    monkeypatch.setattr(ranks, "CHUNK", 700)
    for steps in (30, 200):
        expected = naive.aupro_as_published(maps, masks, 0.30, steps)
        assert 0 < expected != aupro(maps, masks)
        assert same(aupro_as_published(maps, masks, steps=steps), expected)


def test_found_holes_count_and_may_lift_it_above_1():
    """The ring has 24 pixels, and 25 are found with its hole, long before the 100 good pixels elsewhere."""
    maps, masks = np.zeros((2, 20, 20), np.float32), np.zeros((2, 20, 20), bool)
    masks[0, 3:8, 3:8] = True
    masks[0, 5, 5] = False
    maps[0, 3:8, 3:8], maps[1, :5] = 2.0, 1.0
    # From nothing at rate 0 to 25 / 24 at 1 good pixel, then level up to 101 of them.
    assert aupro_as_published(maps, masks) == pytest.approx((1 / 2 + 100) / 101 * 25 / 24)
    assert aupro(maps, masks) < 1
    masks[0, :5, 5] = False  # the hole leads outside
    assert aupro_as_published(maps, masks) < 1


def test_it_hangs_on_the_scale_of_the_scores_as_the_exact_one_does_not():
    maps, masks, _ = naive.made_maps(images=8, size=48)
    exact = aupro(maps, masks)
    assert abs(aupro_as_published(maps, masks) - exact) < 5e-3
    stretched = np.exp(4 * maps.astype(np.float64))
    assert aupro(stretched, masks) == pytest.approx(exact, abs=1e-12)
    assert aupro_as_published(stretched, masks) < exact - 0.02


def test_without_two_different_rates_it_is_not_defined():
    maps, masks, _ = naive.made_maps(images=3, size=8, with_mask=1)
    assert np.isnan(aupro_as_published(np.ones_like(maps), masks))
    assert np.isnan(aupro_as_published(maps, masks, steps=1))
    maps[0, 0, 0] = np.inf
    assert np.isnan(aupro_as_published(maps, masks))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda maps, masks: (np.where(maps == maps[1, 2, 3], np.nan, maps), masks), r"maps\[1\] holds a NaN"),
        (lambda maps, masks: (maps, np.zeros_like(masks)), "nothing anomalous"),
        (lambda maps, masks: (maps, np.ones_like(masks)), "nothing good"),
        (lambda maps, masks: (maps, masks[:1]), "equal shapes"),
    ],
)
def test_other_input_is_refused(change, said):
    maps, masks, _ = naive.made_maps(images=3, size=8, with_mask=1)
    with pytest.raises(InputError, match=said):
        aupro_as_published(*change(maps, masks))
    for wrong in ({"fpr_limit": 0}, {"steps": 0}):
        with pytest.raises(InputError, match="was expected"):
            aupro_as_published(maps, masks, **wrong)
