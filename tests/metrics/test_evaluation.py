import math

import numpy as np
import pytest

from discrepancy.errors import InputError
from discrepancy.metrics import aupro, auroc, average_precision, evaluate, f1_max, ranks
from tests.metrics.naive_metrics import made_maps
from tests.metrics.traced_peak import maps_with_good, traced_peak

KEYS = {
    *("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro_0.30", "aupro_0.05"),
}


@pytest.mark.parametrize("levels", [None, 20])
@pytest.mark.parametrize("on_disk", [False, True])
def test_equals_the_single_functions(levels, on_disk, tmp_path):
    maps, masks, labels = made_maps(levels=levels, seed=2)
    scores = maps.max(axis=(1, 2))
    given = maps
    if on_disk:
        given = np.memmap(tmp_path / "maps", dtype=np.float32, mode="w+", shape=maps.shape)
        given[:] = maps
        given.flush()
        given = np.memmap(tmp_path / "maps", dtype=np.float32, mode="r", shape=maps.shape)
    metrics = evaluate(given, masks, labels.astype(int), scores)
    assert metrics == {
        "image_auroc": auroc(scores, labels),
        "image_ap": average_precision(scores, labels),
        "image_f1max": f1_max(scores, labels),
        "pixel_auroc": auroc(maps, masks),
        "pixel_ap": average_precision(maps, masks),
        "pixel_f1max": f1_max(maps, masks),
        "aupro_0.30": aupro(maps, masks, fpr_limit=0.30),
        "aupro_0.05": aupro(maps, masks, fpr_limit=0.05),
    }
    assert all(type(value) is float for value in metrics.values())


def test_without_masks_pixel_metrics_are_undefined():
    maps, masks, labels = made_maps()
    for none in (None, np.zeros_like(masks)):
        metrics = evaluate(maps, none, labels, maps.max(axis=(1, 2)))
        assert metrics.keys() == KEYS
        assert {key for key, value in metrics.items() if math.isnan(value)} == {k for k in KEYS if "image" not in k}
        assert metrics["image_auroc"] == auroc(maps.max(axis=(1, 2)), labels)


def test_only_good_images_leave_everything_undefined():
    maps, _, _ = made_maps()
    metrics = evaluate(maps, None, np.zeros(len(maps), int), maps.max(axis=(1, 2)))
    assert metrics.keys() == KEYS
    assert all(math.isnan(value) for value in metrics.values())


def test_without_good_images_no_metric_of_images_is_defined():
    maps, masks, _ = made_maps(with_mask=8)
    metrics = evaluate(maps, masks, np.ones(8, int), maps.max(axis=(1, 2)))
    assert {key for key, value in metrics.items() if math.isnan(value)} == {k for k in KEYS if "image" in k}


def test_all_pixels_anomalous():
    maps, masks, _ = made_maps()
    metrics = evaluate(maps, np.ones_like(masks), np.ones(len(maps), int), maps.max(axis=(1, 2)))
    assert all(math.isnan(metrics[k]) for k in KEYS)


def test_an_anomalous_image_with_a_vanished_mask_stays_anomalous():
    maps, masks, labels = made_maps()
    masks[0] = False
    scores = maps.max(axis=(1, 2))
    metrics = evaluate(maps, masks, labels, scores)
    assert metrics["image_auroc"] == auroc(scores, labels)
    assert metrics["pixel_auroc"] == auroc(maps, masks)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("image", [0, 7])
def test_a_nan_names_its_map(image, masked):
    maps, masks, labels = made_maps()
    scores = maps.max(axis=(1, 2))
    maps[image, 1, 2] = np.nan
    with pytest.raises(InputError, match=rf"maps\[{image}\] holds a NaN"):
        evaluate(maps, masks if masked else None, labels, scores)
    scores[3] = np.nan
    with pytest.raises(InputError, match=r"image_scores\[3\] holds a NaN"):
        evaluate(maps, masks, labels, scores)


def test_unusable_input_is_refused():
    maps, masks, labels = made_maps()
    scores = maps.max(axis=(1, 2))
    for wrong, message in [
        ((maps[0], masks, labels, scores), r"maps has shape \(24, 24\)"),
        ((maps, masks[:, 1:], labels, scores), r"masks has shape \(8, 23, 24\)"),
        ((maps, masks, labels[1:], scores), r"labels has shape \(7,\); \(8,\) was expected"),
        ((maps, masks, labels, scores[:, None]), r"image_scores has shape \(8, 1\)"),
        ((maps, masks * 255, labels, scores), "masks has dtype"),
        ((maps, masks, labels * 3, scores), "labels holds 3"),
        ((maps, masks, np.zeros(8, int), scores), r"masks\[0\] marks pixels but labels\[0\] is 0"),
    ]:
        with pytest.raises(InputError, match=message):
            evaluate(*wrong)


def test_input_is_left_as_it_was():
    maps, masks, labels = made_maps()
    before = maps.copy(), masks.copy()
    evaluate(maps, masks, labels, maps.max(axis=(1, 2)))
    assert np.array_equal(maps, before[0]) and np.array_equal(masks, before[1])


def test_memory_does_not_grow_with_the_good_maps(monkeypatch):
    monkeypatch.setattr(ranks, "CHUNK", 2 * 64 * 64)
    peaks = []
    for good in (4, 60):
        maps, masks = maps_with_good(good)
        peaks.append(traced_peak(evaluate, maps, masks, masks.any(axis=(1, 2)), maps.max(axis=(1, 2))))
    assert peaks[1] - peaks[0] < maps[0].nbytes


def test_an_anomalous_pixel_takes_as_much_memory_as_is_said(monkeypatch):
    monkeypatch.setattr(ranks, "CHUNK", 1 << 12)
    maps = np.random.default_rng(0).permutation(1 << 18).astype(np.float32).reshape(4, 256, 256)
    masks = np.zeros(maps.shape, bool)
    masks[:2] = True
    peak = traced_peak(evaluate, maps, masks, [1, 1, 0, 0], maps.max(axis=(1, 2)))
    assert 100 < peak / masks.sum() < 126
