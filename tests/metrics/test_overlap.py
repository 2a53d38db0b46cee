import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from discrepancy.errors import InputError
from discrepancy.metrics import aupro, best_iou, overlap, pro_curve, ranks
from tests.metrics import naive_metrics as naive
from tests.metrics.traced_peak import maps_with_good, traced_peak

LIMITS = (0.05, 0.30, 1.0)


@st.composite
def maps_and_masks(draw):
    """Small maps with many or no ties; masks with an anomalous and a good pixel at least."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6))
    if math.prod(shape) < 2:
        shape = (1, 1, 2)
    levels = draw(st.sampled_from([1, 4, 10**6]))
    maps = draw(hnp.arrays(np.int64, shape, elements=st.integers(-levels, levels))).astype(np.float32) / 8
    masks = draw(hnp.arrays(np.bool_, shape))
    masks.ravel()[:2] = [True, False]
    return maps, masks


@settings(max_examples=120, deadline=None)
@given(maps_and_masks())
def test_equals_the_threshold_loop(pair):
    for limit in LIMITS:
        assert aupro(*pair, fpr_limit=limit) == pytest.approx(naive.aupro(*pair, limit), abs=1e-12)
    assert best_iou(*pair) == pytest.approx(naive.best_iou(*pair), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 12, 300])
def test_equals_the_threshold_loop_on_smooth_maps(levels):
    maps, masks, _ = naive.made_maps(levels=levels, images=4, size=16, with_mask=2)
    for limit in LIMITS:
        assert aupro(maps, masks, fpr_limit=limit) == pytest.approx(naive.aupro(maps, masks, limit), abs=1e-12)
    assert best_iou(maps, masks) == pytest.approx(naive.best_iou(maps, masks), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(maps_and_masks(), st.randoms(use_true_random=False))
def test_order_of_images_and_monotone_changes_do_not_matter(pair, random):
    maps, masks = pair
    order = random.sample(range(len(maps)), len(maps))
    _, dense = np.unique(maps, return_inverse=True)
    stretched = np.exp(dense / 64.0).reshape(maps.shape)
    for metric in (aupro, best_iou):
        expected = metric(maps, masks)
        assert metric(maps[order], masks[order]) == pytest.approx(expected, abs=1e-12)
        assert metric(maps[:, ::-1, ::-1], masks[:, ::-1, ::-1]) == pytest.approx(expected, abs=1e-12)
        assert metric(stretched, masks) == expected


def test_exponential_scores_keep_their_aupro():
    maps, masks, _ = naive.made_maps(images=6, size=32)
    for limit in LIMITS:
        expected = aupro(maps.astype(np.float64), masks, fpr_limit=limit)
        assert aupro(np.exp(2 * maps.astype(np.float64)), masks, fpr_limit=limit) == expected


@pytest.mark.parametrize("pieces", [2, 3])
def test_best_iou_does_not_depend_on_how_thresholds_are_cut(monkeypatch, pieces):
    maps, masks, _ = naive.made_maps(images=6, size=24)
    expected = best_iou(maps, masks)
    monkeypatch.setattr(overlap, "PIECES", pieces)
    assert best_iou(maps, masks) == expected == pytest.approx(naive.best_iou(maps, masks), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_best_iou_is_the_same_from_a_temporary_file(monkeypatch, dtype):
    maps, masks, _ = naive.made_maps(images=6, size=24)
    masks[0], masks[1] = True, False  # nothing outside, nothing inside
    maps = (100 * maps).astype(dtype)
    expected = best_iou(maps, masks)
    size = int(masks.any(axis=(1, 2)).sum()) * maps[0].nbytes
    files = []
    original = overlap.spill_to_disk

    def watched(arrays, **options):
        kept = original(arrays, **options)
        files.append(not any(array.flags.writeable for array in kept))
        return kept

    monkeypatch.setattr(overlap, "spill_to_disk", watched)
    for most in (0, size - 1, size):
        monkeypatch.setattr(overlap, "MOST_IN_MEMORY", most)
        assert best_iou(maps, masks) == expected == pytest.approx(naive.best_iou(maps, masks), abs=1e-12)
    assert files == [True, True, False]


def test_memory_for_best_iou_is_bounded(monkeypatch):
    monkeypatch.setattr(overlap, "MOST_IN_MEMORY", 0)
    peaks = []
    for marked in (4, 60):
        maps = np.random.default_rng(0).random((marked, 64, 64), dtype=np.float32)
        peaks.append(traced_peak(best_iou, maps, maps == maps.max(axis=(1, 2), keepdims=True)))
    assert peaks[1] - peaks[0] < 3 * maps[0].nbytes  # a copy of all would be 56 maps


@pytest.mark.parametrize("metric", [aupro, best_iou, pro_curve])
def test_memory_does_not_grow_with_the_good_maps(monkeypatch, metric):
    monkeypatch.setattr(ranks, "CHUNK", 2 * 64 * 64)
    peaks = []
    for good in (4, 60):
        maps, masks = maps_with_good(good)
        peaks.append(traced_peak(metric, maps, masks))
    assert peaks[1] - peaks[0] < maps[0].nbytes


def test_best_iou_looks_at_few_thresholds(monkeypatch):
    maps, masks, _ = naive.made_maps(images=6, size=64)
    asked = []
    original = overlap._mean_iou

    def counted(images, candidates, low, high):
        asked.append(len(np.union1d(low, high)))
        return original(images, candidates, low, high)

    monkeypatch.setattr(overlap, "_mean_iou", counted)
    best_iou(maps, masks)
    assert sum(asked) < masks.sum() / 2


def test_chunks_change_nothing(monkeypatch):
    maps, masks, _ = naive.made_maps(levels=40)
    expected = aupro(maps, masks)
    monkeypatch.setattr(ranks, "CHUNK", 700)
    assert aupro(maps, masks) == expected


def test_touching_corners_are_one_region():
    maps = np.zeros((1, 4, 4), np.float32)
    masks = np.zeros((1, 4, 4), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 1, 2] = masks[0, 3, 0] = True
    maps[0, 0, 0] = 1  # one of three pixels of the first of two regions
    assert aupro(maps, masks, fpr_limit=1.0) == pytest.approx((1 / 6 + 1) / 2)


def test_a_hole_is_no_part_of_its_region():
    masks = np.zeros((1, 7, 7), bool)
    masks[0, 1:6, 1:6] = True
    masks[0, 2:5, 2:5] = False
    maps = np.zeros((1, 7, 7), np.float32)
    maps[0, 2:5, 2:5] = 2  # the hole: nine false positives of 33 before anything is found
    maps[0, masks[0]] = 1
    assert aupro(maps, masks, fpr_limit=0.5) == pytest.approx((0.5 - 9 / 33) / 0.5)
    assert best_iou(maps, masks) == pytest.approx(16 / 25)
    inner = masks.copy()
    inner[0, 3, 3] = True  # a second region in the hole
    assert aupro(maps, inner) == pytest.approx(naive.aupro(maps, inner, 0.30), abs=1e-12)


def test_regions_count_alike_whatever_their_size():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :6, :6] = True
    masks[1, 7, 7] = True
    maps = np.where(masks, 0.0, 1.0).astype(np.float32)
    maps[1, 7, 7] = 2
    assert aupro(maps, masks) == pytest.approx(0.5)
    assert best_iou(maps, masks) == pytest.approx((0.0 + 1.0) / 2)


def test_one_pixel_and_all_equal_scores():
    masks = np.zeros((1, 1, 5), bool)
    masks[0, 0, 2] = True
    assert aupro(masks.astype(np.float32), masks) == 1.0
    assert best_iou(masks.astype(np.float32), masks) == 1.0
    assert aupro(np.ones((1, 1, 5), np.float32), masks) == pytest.approx(0.15)  # the diagonal up to 0.30
    assert best_iou(np.ones((1, 1, 1)), np.ones((1, 1, 1), bool)) == 1.0


def test_best_iou_leaves_good_images_out():
    maps, masks, labels = naive.made_maps()
    assert best_iou(maps, masks) == best_iou(maps[labels], masks[labels])


@settings(max_examples=60, deadline=None)
@given(maps_and_masks())
def test_pro_curve_is_the_loop_curve(pair):
    for limit in LIMITS:
        rates, overlaps = pro_curve(*pair, fpr_limit=limit)
        assert rates[0] == overlaps[0] == 0 and rates[-1] == pytest.approx(limit)
        assert np.trapezoid(overlaps, rates) / limit == pytest.approx(aupro(*pair, fpr_limit=limit), abs=1e-12)
        x, y = naive.pro_curve(*pair)
        assert overlaps[-1] == pytest.approx(np.interp(limit, x, y), abs=1e-12)


def test_thinned_pro_curve_keeps_its_area():
    maps, masks, _ = naive.made_maps(size=64)
    rates, overlaps = pro_curve(maps, masks, fpr_limit=0.05, points=200)
    assert len(rates) <= 200
    assert rates[-1] == pytest.approx(0.05) and (np.diff(rates) >= 0).all() and (np.diff(overlaps) >= 0).all()
    assert np.trapezoid(overlaps, rates) / 0.05 == pytest.approx(aupro(maps, masks, fpr_limit=0.05), abs=0.01)


@pytest.mark.parametrize("metric", [aupro, best_iou, pro_curve])
def test_unusable_input_is_refused(metric):
    maps, masks, _ = naive.made_maps(images=3, size=8, with_mask=2)
    for image in (0, 2):
        broken = maps.copy()
        broken[image, 3, 3] = np.nan
        with pytest.raises(InputError, match=rf"maps\[{image}\] holds a NaN"):
            metric(broken, masks)
    with pytest.raises(InputError, match="nothing anomalous"):
        metric(maps, np.zeros_like(masks))
    with pytest.raises(InputError, match=r"maps has shape \(3, 8, 8\) and masks has shape \(2, 8, 8\)"):
        metric(maps, masks[:2])
    with pytest.raises(InputError, match=r"\[N, H, W\] was expected"):
        metric(maps[0], masks[0])
    with pytest.raises(InputError, match="masks has dtype uint8"):
        metric(maps, masks.astype(np.uint8))


@pytest.mark.parametrize("metric", [aupro, pro_curve])
def test_unusable_limits_and_classes_are_refused(metric):
    maps, masks, _ = naive.made_maps(images=3, size=8, with_mask=2)
    for limit in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="fpr_limit is"):
            metric(maps, masks, fpr_limit=limit)
    with pytest.raises(InputError, match="nothing good"):
        metric(maps, np.ones_like(masks))
