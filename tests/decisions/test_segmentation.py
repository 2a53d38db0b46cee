"""From maps to outlines: hysteresis, the smallest region, and parts that pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from discrepancy.decisions.calibration import Calibration
from discrepancy.decisions.segmentation import Outlines, SegmentationRule, segmentation_rule, smooth
from discrepancy.methods.smoothing import gaussian_blur

EIGHT = np.ones((3, 3))


def naive_mask(smoothed, rule):
    labels, count = ndimage.label(smoothed > rule.low, EIGHT)
    mask = np.zeros(smoothed.shape, bool)
    peaks = {label: smoothed[labels == label].max() for label in range(1, count + 1)}
    for label, peak in peaks.items():
        region = labels == label
        if (peak > rule.high and region.sum() >= rule.smallest) or peak == max(peaks.values()):
            mask |= region
    return mask


def made_up_map(seed, size=(40, 48)):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.gamma(2, size=size), 2).astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 0.999), st.floats(0, 1), st.integers(1, 30))
def test_regions_are_those_of_a_naive_search(seed, high, between, smallest):
    anomaly_map = made_up_map(seed)
    high = float(np.quantile(anomaly_map, high))
    low = high - between * (high - float(np.quantile(anomaly_map, 0.2)))
    rule = SegmentationRule(high, low, 0.0, smallest)
    assert (rule.mask(anomaly_map, anomalous=True) == naive_mask(anomaly_map, rule)).all()


def test_a_part_that_passes_has_no_outline():
    anomaly_map = made_up_map(1)
    rule = SegmentationRule(0.0, 0.0)
    assert not rule.mask(anomaly_map, anomalous=False).any()
    assert rule.mask(anomaly_map, anomalous=True).any()


def test_the_highest_region_of_an_anomalous_part_is_outlined_below_the_threshold_too():
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[3:5, 3:5], anomaly_map[10:16, 10:16] = 2.0, 1.5
    mask = SegmentationRule(high=9.0, low=1.0, smallest=10).mask(anomaly_map, anomalous=True)
    assert mask[3, 3]
    assert mask.sum() == 4


def test_nothing_stands_out_below_the_lower_threshold():
    rule = SegmentationRule(high=9.0, low=5.0)
    assert not rule.mask(np.ones((8, 8), np.float32), anomalous=True).any()


def test_not_gated_every_pixel_above_counts():
    anomaly_map = made_up_map(2)
    rule = SegmentationRule(2.0, 2.0, anomalous_only=False)
    for anomalous in (True, False):
        assert (rule.mask(anomaly_map, anomalous=anomalous) == (anomaly_map > 2.0)).all()
        assert (rule.level(anomaly_map, anomalous=anomalous) == anomaly_map).all()


@settings(deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_the_level_is_above_the_lower_threshold_in_the_regions_alone(seed, anomalous):
    anomaly_map = made_up_map(seed)
    rule = SegmentationRule(2.3, 2.1, sigma=1.5, smallest=5)
    level = rule.level(anomaly_map, anomalous=anomalous)
    assert ((level > np.float32(rule.low)) == rule.mask(anomaly_map, anomalous=anomalous)).all()


@pytest.mark.parametrize("sigma", [0.0, 1.0, 4.0])
def test_maps_are_smoothed_as_image_scores_are(sigma):
    anomaly_map = np.random.default_rng(3).gamma(2, size=(30, 50)).astype(np.float32)
    expected = gaussian_blur(torch.from_numpy(anomaly_map)[None], sigma)[0].numpy()
    np.testing.assert_allclose(smooth(anomaly_map, sigma), expected, rtol=1e-5)


def test_thresholds_come_from_the_peaks_of_good_maps():
    maps = np.stack([made_up_map(seed) for seed in range(20)])
    rule = segmentation_rule(maps, target=0.05, rule="gumbel", sigma=2.0)
    peaks = np.array([smooth(anomaly_map, 2.0).max() for anomaly_map in maps], np.float64)
    assert rule.high == pytest.approx(Calibration(peaks, 0.05).threshold)
    assert rule.low == pytest.approx((rule.high + np.median(peaks)) / 2)
    areas = []
    for anomaly_map in maps:
        labels, count = ndimage.label(smooth(anomaly_map, 2.0) > rule.low, EIGHT)
        areas += [int((labels == label).sum()) for label in range(1, count + 1)]
    assert rule.smallest == int(np.median(areas))


def test_an_odd_map_does_not_decide_how_large_regions_are():
    maps = np.stack([made_up_map(seed) for seed in range(20)])
    odd = np.append(maps, np.full((1, *maps.shape[1:]), 50, np.float32), axis=0)
    rule = segmentation_rule(odd, target=1e-4, rule="gumbel", sigma=0.0)
    assert maps.max() < rule.low < 50
    assert rule.smallest == 1


def test_good_images_are_outlined_at_the_target_rate():
    """New maps of the same kind: the share with a peak above the threshold is the target's."""
    rule = segmentation_rule(np.stack([made_up_map(seed) for seed in range(60)]), target=0.1, rule="gumbel", sigma=2.0)
    new = [smooth(made_up_map(seed), 2.0).max() > rule.high for seed in range(1000, 1400)]
    assert 0.04 < np.mean(new) < 0.2


def test_outlines_follow_each_decision():
    maps = np.stack([made_up_map(seed) for seed in range(3)])
    rule = SegmentationRule(2.2, 2.1)
    found = Outlines(maps, np.array([True, False, True]), rule)
    assert len(found) == 3
    assert (found[0] == rule.mask(maps[0], anomalous=True)).all()
    assert not found[1].any()
    assert (found[1:][1] == found[2]).all()
