"""The thresholds on a card: of images and of outlines, and what they say of each other."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from discrepancy.decisions.calibration import Calibration
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.detection.thresholds import calibrated, outlines, with_threshold
from discrepancy.errors import InputError
from discrepancy.methods.card import Card
from discrepancy.metrics.thresholds import threshold_at_fpr


def made_up(count, seed=0, sigma=2.0):
    rng = np.random.default_rng(seed)
    maps = np.stack([gaussian_filter(rng.gamma(2, size=(32, 32)), 1) for _ in range(count)]).astype(np.float32)
    peaks = [gaussian_filter(anomaly_map, sigma, mode="mirror", truncate=4.0).max() for anomaly_map in maps]
    return ScoredMaps(maps, np.array(peaks, np.float32), 1.0)


def card_of(sigma=2.0):
    backbone = {"backbone": "b", "layers": ["l"], "weights": "0" * 64}
    score = {"rule": "maximum", "sigma": sigma}
    return Card.read(
        {"method": "dfc", "parameters": {}, "backbone": backbone, "image_size": [32, 32], "image_score": score}
    )


def names(count):
    return [f"good/{i:03}.png" for i in range(count)]


def test_a_card_keeps_scores_rule_and_interval():
    scored = made_up(20)
    card = calibrated(card_of(), scored, names(20), target=0.05, rule="gumbel")
    expected = Calibration(scored.image_scores.astype(float), 0.05)
    image = card.decision.image
    assert image.value == expected.threshold
    assert image.interval == list(expected.interval)
    assert (image.target_fpr, image.expected_fpr, image.images, image.rule) == (0.05, 0.05, 20, "gumbel")
    again = Card.read(json.loads(json.dumps(card.to_json()))).decision.image.calibration
    assert again.false_alarm_probability([image.value])[0] == pytest.approx(0.05, rel=0.01)


def test_outlines_and_decisions_agree_where_scores_are_maxima_of_maps():
    """The threshold of regions is that of images, so an image is anomalous if and only if a region is outlined."""
    card = calibrated(card_of(), made_up(20), names(20), target=0.1, rule="gumbel")
    assert card.decision.pixel.value == card.decision.image.value
    new = made_up(200, seed=1)
    found = outlines(new, card)
    anomalous = new.image_scores > card.decision.image.value
    assert 0 < anomalous.sum() < 60
    assert [bool(mask.any()) for mask in found] == anomalous.tolist()


def test_the_share_of_pixels_stays_as_a_rule():
    scored = made_up(20)
    card = calibrated(card_of(), scored, names(20), target=0.02, rule="gumbel", segmentation="pixels")
    pixel = card.decision.pixel
    assert pixel.value == threshold_at_fpr(scored.maps, fpr=0.02, images=20).value
    new = made_up(5, seed=2)
    assert all((mask == (new.maps[row] > pixel.value)).all() for row, mask in enumerate(outlines(new, card)))


def test_odd_images_are_named():
    scored = made_up(20)
    scored.image_scores[7] *= 20
    card = calibrated(card_of(), scored, names(20), target=0.01, rule="gumbel")
    assert card.decision.image.outliers == ["good/007.png"]


def test_another_threshold_tells_its_rate():
    card = calibrated(card_of(), made_up(30), names(30), target=0.01, rule="gumbel")
    lower = 0.9 * card.decision.image.value
    changed = with_threshold(card, lower, "because")
    image = changed.decision.image
    assert (image.value, image.note) == (lower, "because")
    expected = card.decision.image.calibration.false_alarm_probability([lower])[0]
    assert image.expected_fpr == pytest.approx(expected)
    assert image.interval[0] < expected < image.interval[1]
    assert changed.decision.pixel.value == lower
    assert changed.decision.pixel.low <= lower


def test_a_stricter_threshold_of_images_leaves_that_of_outlines():
    """With scores that are means of peaks, a map's peak is above its image's threshold in either case."""
    scored = made_up(30)
    scored = replace(scored, image_scores=0.9 * scored.image_scores)
    card = calibrated(card_of(), scored, names(30), target=0.01, rule="gumbel")
    assert card.decision.pixel.value > 1.01 * card.decision.image.value
    changed = with_threshold(card, 1.01 * card.decision.image.value, "because")
    assert changed.decision.pixel == card.decision.pixel


def test_names_and_maps_must_belong_together():
    with pytest.raises(InputError, match="20 held-out maps; expected those of 3 images"):
        calibrated(card_of(), made_up(20), names(3), target=0.01, rule="gumbel")


@pytest.mark.parametrize("scores", [[3.0, 4.0], [3.0] * 15 + [50.0]])
def test_the_rule_that_was_asked_for_is_kept_where_it_cannot_be_followed_yet(scores):
    """Two images: the order decides. Of sixty at the next calibration a distribution may."""
    scored = ScoredMaps(made_up(len(scores)).maps, np.array(scores, np.float32), 1.0)
    card = calibrated(card_of(), scored, names(len(scores)), target=0.01, rule="gumbel")
    image = Card.read(json.loads(json.dumps(card.to_json()))).decision.image
    assert image.rule == "gumbel" and "rule quantile" in image.note
    assert image.calibration.threshold == image.value
    above = np.nextafter(image.value, np.inf)
    assert image.calibration.false_alarm_probability([above])[0] == pytest.approx(image.expected_fpr)


def test_it_may_be_cheapest_to_call_all_parts_anomalous():
    card = calibrated(card_of(), made_up(20), names(20), target=0.01, rule="quantile")
    all_of_them = with_threshold(card, 0.0, "of least cost").decision.image
    assert all_of_them.expected_fpr == 1 and 1 - 1e-12 < all_of_them.target_fpr < 1
