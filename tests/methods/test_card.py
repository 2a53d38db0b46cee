"""The entries of a card that decide: checked when it is read, and kept as they are."""

import json

import numpy as np
import pytest

from discrepancy.detection import ScoredMaps
from discrepancy.detection.thresholds import calibrated
from discrepancy.errors import InputError
from discrepancy.methods.card import FORMAT, Card

WITHOUT = {
    "method": "dfc",
    "parameters": {},
    "backbone": {"backbone": "vgg19", "layers": ["relu1_1"], "weights": "0" * 64},
    "image_size": [16, 16],
    "image_score": {"sigma": 1.0},
}
EARLIER = {"value": 0.75, "wished_false_positive_rate": 0.01, "images": 2, "note": "of two images"}
MAP = np.random.default_rng(0).random((16, 16), dtype=np.float32)


def maps(count=6):
    return np.random.default_rng(1).random((count, 16, 16), dtype=np.float32)


@pytest.fixture
def card():
    scored = ScoredMaps(maps(), maps().max(axis=(1, 2)), 1.0)
    return calibrated(Card.read(WITHOUT), scored, list("abcdef"), target=0.01, rule="gumbel")


def changed(card, entry, **values):
    """The card's values, as a file holds them, with others in one entry of its thresholds."""
    content = json.loads(json.dumps(card.to_json()))
    content["thresholds"][entry] |= values
    return content


def test_a_card_comes_back_from_its_file(card):
    read = Card.read(json.loads(json.dumps(card.to_json())))
    assert read == card and read.format == FORMAT == 3
    image, pixel = read.decision.image, read.decision.pixel
    assert image.calibration.threshold == pytest.approx(image.value)
    np.testing.assert_array_equal(image.calibration.scores, np.float64(maps().max(axis=(1, 2))))
    assert image.interval == list(image.calibration.interval) and image.expected_fpr == 0.01
    rule = pixel.segmentation
    assert (rule.high, rule.low, rule.sigma, rule.smallest) == (pixel.value, pixel.low, 1.0, pixel.smallest)
    assert (
        rule.anomalous_only
        and not rule.mask(MAP + 9, anomalous=False).any()
        and rule.mask(MAP + 9, anomalous=True).all()
    )


@pytest.mark.parametrize("form", [{"format": 1}, {}])
def test_a_card_of_an_earlier_format_outlines_pixels_above_its_threshold(form):
    read = Card.read({**WITHOUT, **form, "thresholds": {"pixel": EARLIER, "image": EARLIER}})
    image, pixel = read.decision.image, read.decision.pixel
    assert image.value == 0.75 and image.target_fpr == 0.01 and image.rule == "quantile"
    assert image.calibration is None and image.expected_fpr is None and image.interval is None
    for anomalous in (True, False):
        np.testing.assert_array_equal(pixel.segmentation.mask(MAP, anomalous=anomalous), MAP > 0.75)


@pytest.mark.parametrize(
    ("entry", "values", "message"),
    [
        ("image", {"interval": [0.0, 0.1, 0.2]}, r"image\.interval: .*at most 2 items.*found \[0\.0, 0\.1, 0\.2\]"),
        ("image", {"interval": [0.1]}, r"image\.interval: .*at least 2 items"),
        ("image", {"target_fpr": 1.0}, r"image\.target_fpr: .*less than 1, found 1\.0"),
        ("image", {"target_fpr": -0.1}, r"image\.target_fpr: .*greater than or equal to 0"),
        ("image", {"expected_fpr": "low"}, r"image\.expected_fpr: .*valid number, found 'low'"),
        ("image", {"scores": [1.0, float("nan")]}, r"image\.scores\.1: .*finite number"),
        ("image", {"scores": 1.0}, r"image\.scores: .*valid list"),
        ("image", {"outliers": [3]}, r"image\.outliers\.0: .*valid string"),
        ("image", {"rule": "cauchy"}, r"image\.rule: .*'gumbel', .*found 'cauchy'"),
        ("pixel", {"smallest": 0}, r"pixel\.smallest: .*greater than or equal to 1, found 0"),
        ("pixel", {"smallest": 1.5}, r"pixel\.smallest: .*valid integer"),
        ("pixel", {"sigma": -1.0}, r"pixel\.sigma: .*greater than or equal to 0, found -1\.0"),
        ("pixel", {"sigma": 1e9}, r"pixel\.sigma: .*less than or equal to 10000"),
        ("pixel", {"low": 1e6}, r"pixel\.low: expected at most 0\.9\d*, the threshold of peaks, found 1000000\.0"),
        ("pixel", {"low": float("inf")}, r"pixel\.low: .*finite number"),
        ("pixel", {"of": "regions"}, r"pixel\.of: .*'images' or 'pixels', found 'regions'"),
    ],
)
def test_entries_that_do_not_fit_are_named(card, entry, values, message):
    with pytest.raises(InputError, match=r"^thresholds\." + message):
        Card.read(changed(card, entry, **values))


def test_a_later_format_is_refused(card):
    with pytest.raises(InputError, match=r"format: .*less than or equal to 3, found 4"):
        Card.read(card.to_json() | {"format": 4})
