"""The bundle's program computes, without OpenCV and SciPy, what the package computes with them."""

import copy

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from discrepancy.data import reading
from discrepancy.data.images import ResizeCrop
from discrepancy.data.layouts.files import IMAGE_SUFFIXES
from discrepancy.data.native_resolution import at_original_size
from discrepancy.decisions.calibration import Calibration
from discrepancy.decisions.segmentation import SegmentationRule, smooth
from discrepancy.export import bundle as bundles
from discrepancy.export import detect
from discrepancy.figures import style
from discrepancy.prediction.regions import find_regions
from discrepancy.prediction.results import COLUMNS
from tests.prediction.conftest import with_calibration

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(bool, shape))


def noise(shape, seed=0):
    return cv2.GaussianBlur(np.random.default_rng(seed).random(shape, dtype=np.float32), (0, 0), 3)


@settings(deadline=None, max_examples=300)
@given(masks.filter(np.any))
def test_regions_are_those_of_opencv(mask):
    values = np.random.default_rng(1).random(mask.shape, dtype=np.float32)
    found = detect.Runs.of(mask).found(values)
    expected = find_regions(values, mask)
    assert [region[:6] for region in found] == [
        (one.left, one.top, one.width, one.height, one.area, pytest.approx(one.peak)) for one in expected
    ]


@pytest.mark.parametrize("rule", [(0.52, 0.5, 2.0, 4, True), (0.52, 0.5, 0.0, 30, False), (0.5, 0.5, 1.0, 1, False)])
@pytest.mark.parametrize("anomalous", [True, False])
def test_outlines_are_those_of_the_package(rule, anomalous):
    for seed in range(5):
        values = noise((60, 90), seed)
        ours = SegmentationRule(*rule).level(values, anomalous=anomalous)
        found = detect.Rule(*rule).level(values, anomalous=anomalous)
        np.testing.assert_allclose(found, ours, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 4.0, 40.0])
def test_smoothing_is_that_of_the_package(sigma):
    values = noise((30, 50))
    np.testing.assert_allclose(detect.smoothed(values, sigma), smooth(values, sigma), rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "tolerance"),
    [((96, 96), 0), ((200, 300), 1e-5), ((97, 96), 1e-5), ((40, 37), 1e-5), ((1, 1), 1e-5), ((500, 40), 1e-5)],
)
@pytest.mark.parametrize("crop", [None, (64, 48)])
def test_maps_are_resized_as_by_the_package(detector, bundle_folder, size, tolerance, crop):
    opened = detect.Bundle(bundle_folder)
    opened.card["preprocessing"] = {"resized_to": [96, 96]}
    opened.card["image_size"] = list(crop or (96, 96))
    values = noise(crop or (96, 96))
    expected = at_original_size(values, ResizeCrop((96, 96), crop), size)
    np.testing.assert_allclose(opened.at_original_size(values, size), expected, atol=tolerance)


@pytest.mark.parametrize("rule", ["gumbel", "normal", "frechet", "quantile"])
def test_false_alarms_are_those_of_the_calibration(method, rule):
    scores = np.random.default_rng(0).gumbel(3, 0.3, 40)
    card = with_calibration(copy.copy(method), 4.0, scores.tolist()).card
    entry = card.to_json()["thresholds"]
    entry["image"]["rule"] = rule
    table = bundles.false_alarms(card.with_entries(thresholds=entry))
    places = np.concatenate([np.random.default_rng(1).uniform(2, 12, 200), scores])
    expected = Calibration(scores, 0.01, rule).false_alarm_probability(places)
    found = np.exp(np.interp(places, table["scores"], np.log(table["probabilities"])))
    np.testing.assert_allclose(found[expected > 1e-6], expected[expected > 1e-6], rtol=5e-3)


@settings(deadline=None)
@given(masks, st.integers(1, 5))
def test_lines_are_thickened_as_by_opencv(mask, reach):
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    expected = cv2.dilate(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)) > 0
    found = detect._thickened(detect._thickened(mask, reach).T, reach).T
    np.testing.assert_array_equal(found, expected)


def test_names_and_numbers_are_those_of_the_package():
    assert detect.COLUMNS == COLUMNS
    assert detect.SUFFIXES == IMAGE_SUFFIXES
    assert detect.MAX_PIXELS == reading.MAX_PIXELS
    assert detect.FORMAT == bundles.FORMAT
    assert (detect.GRAPH, detect.CARD) == (bundles.GRAPH, bundles.CARD)
    assert tuple(bytes.fromhex(style.FOUND.removeprefix("#"))) == detect.OUTLINE
