"""A detector at work on photographs of any kind: the results are those of `score`, and one bad file stops nothing."""

import json
import threading

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from discrepancy import load_detector
from discrepancy.decisions.calibration import Calibration
from discrepancy.detection.storage import save_method
from discrepancy.errors import InputError
from discrepancy.prediction import Detector, Prediction, Unreadable
from discrepancy.prediction.results import COLUMNS
from tests.naive_outlines import naive_outlines
from tests.prediction.conftest import with_thresholds

N = 16


def scores_of(detector, pixels):
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    maps, scores = detector.score(images)
    return maps.numpy(), scores.numpy()


def test_scores_maps_and_decisions_are_those_of_score(detector, photos, pixels):
    predictions = detector.predict(photos, batch_size=5)
    maps, scores = scores_of(detector, pixels)
    order = [*range(8, 16), *range(8)]  # bad/ comes before good/
    np.testing.assert_allclose(predictions.scores, scores[order], rtol=1e-5)
    np.testing.assert_allclose(predictions.maps, maps[order], rtol=1e-4, atol=1e-5)
    assert predictions.decisions.tolist() == [True] * 8 + [False] * 8
    assert [one.decision for one in predictions][7:9] == ["anomalous", "good"]
    assert predictions[0].name.endswith("bad/scratched/08.png") and predictions[0].size == (96, 96)


@pytest.mark.parametrize("form", ["arrays", "one array", "files", "bytes", "pil", "generator"])
def test_any_form_of_the_same_photographs_gives_the_same_scores(detector, photos, pixels, form):
    files = sorted(photos.rglob("[0-9]*.png"), key=lambda path: path.name)
    given = {
        "arrays": lambda: list(pixels),
        "one array": lambda: pixels,
        "files": lambda: files,
        "bytes": lambda: [path.read_bytes() for path in files],
        "pil": lambda: [Image.open(path) for path in files],
        "generator": lambda: (path for path in files),
    }[form]()
    np.testing.assert_allclose(detector.predict(given).scores, scores_of(detector, pixels)[1], rtol=1e-5)


def test_maps_masks_and_regions_are_of_the_photographs_size(detector, pixels):
    large = cv2.resize(pixels[12], (300, 200))
    (result,) = detector.predict(large)
    assert result.size == (200, 300) and result.map.shape == result.mask.shape == (200, 300)
    assert result.map.dtype == np.float32 and result.mask.any()
    assert sum(region.area for region in result.regions) == result.mask.sum()
    region = result.regions[0]
    assert result.map[region.peak_y, region.peak_x] == result.map.max() == pytest.approx(region.peak)
    overlay = np.asarray(result.overlay())
    changed = (overlay != large).any(-1)
    assert overlay.shape == large.shape and changed.any() and not changed[~_near(result.mask)].any()


def _near(mask):
    return cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


def test_a_crop_is_that_of_the_training(method, pixels):
    card = method.card
    try:
        method.card = card.with_entries(preprocessing={"resized_to": [128, 112], "crop": "centre"})
        (result,) = Detector(method, device="cpu").predict(np.pad(pixels[9], ((16, 16), (8, 8), (0, 0))))
    finally:
        method.card = card
    maps, scores = scores_of(Detector(method, device="cpu"), pixels[9:10])
    assert result.score == pytest.approx(scores[0], rel=1e-5)
    np.testing.assert_allclose(result.map[16:-16, 8:-8], maps[0], rtol=1e-4, atol=1e-5)
    assert result.map[:16].max() == result.map.min()  # not scored


def test_the_bits_of_the_training_count(method, pixels, tmp_path):
    """A camera of 12 bits: read as one of 16 its photographs would be nearly black."""
    card = method.card
    cv2.imwrite(str(tmp_path / "deep.png"), ((pixels[9].astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16))
    try:
        method.card = card.with_entries(preprocessing={"bit_depth": 12})
        detector = Detector(method, device="cpu")
        deep, shallow = detector.predict([tmp_path / "deep.png", pixels[9]])
    finally:
        method.card = card
    assert deep.score == pytest.approx(shallow.score, rel=1e-5)
    (dark,) = Detector(method, device="cpu").predict(tmp_path / "deep.png").scores
    assert dark != pytest.approx(shallow.score, rel=0.05)


def test_a_bad_file_stops_a_list_but_not_an_examination(detector, photos, tmp_path):
    files = [photos / "good/00.png", tmp_path / "bad.png", photos / "good/01.png"]
    files[1].write_text("hello")
    with pytest.raises(InputError, match=r"bad\.png is not an image"):
        detector.predict(files)
    results = list(detector.examine(files, lambda result: result, batch_size=2))
    assert [type(one) for one in results] == [Prediction, Unreadable, Prediction]
    assert "not an image" in results[1].reason and results[1].name == files[1].as_posix()


def test_results_come_in_order_and_memory_does_not_hold_them(detector, pixels):
    """Of an endless camera no more is read than the network needs ahead."""
    taken = []

    def camera():
        while True:
            taken.append(len(taken))
            yield pixels[len(taken) % N]

    stream = detector.stream(camera(), batch_size=2)
    seen = [next(stream) for _ in range(7)]
    stream.close()
    expected = scores_of(detector, pixels)[1]
    np.testing.assert_allclose([one.score for one in seen], [expected[(i + 1) % N] for i in range(7)], rtol=1e-5)
    assert len(taken) <= 7 + 5 * 2
    assert not [one for one in threading.enumerate() if one.name.startswith("predict")]


def test_an_error_of_the_network_ends_the_threads(detector, pixels, monkeypatch):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(type(detector.method), "scored", broken)
    with pytest.raises(RuntimeError, match="broken"):
        detector.predict(pixels)
    assert not [one for one in threading.enumerate() if one.name.startswith("predict")]


def test_the_table(detector, photos):
    table = detector.predict(photos).to_pandas()
    assert table.columns.tolist() == list(COLUMNS) and len(table) == N
    assert (table["threshold"] == detector.threshold).all() and (table["reason"] == "").all()
    assert (table["regions"].gt(0) == table["largest_region"].gt(0)).all()
    assert table["regions"].gt(0).tolist() == [True] * 8 + [False] * 8
    np.testing.assert_allclose(table["relative_score"], table["score"] / detector.threshold, rtol=1e-3)
    known = Calibration(np.array(detector.card.decision.image.scores), 0.01, "gumbel")
    likely = table["false_alarm_probability"]
    np.testing.assert_allclose(likely, known.false_alarm_probability(table["score"]), rtol=1e-3)
    assert 0 < likely[:8].max() < 0.01 and likely[8:].between(0.05, 1).all()


def test_a_part_that_passes_is_not_outlined(detector, photos):
    """However anomalous its pixels are; in one that does not, the regions of the smoothed map are."""
    for result in detector.predict(photos):
        assert result.mask.any() == (len(result.regions) > 0) == result.anomalous
        expected = naive_outlines(result.small_map, detector.card.decision.pixel, anomalous=result.anomalous)
        assert np.mean(result.mask != expected) < 1e-3
        drawn = np.asarray(result.overlay()) != np.asarray(result.read())
        assert drawn.any() == result.anomalous


def test_a_detector_of_an_earlier_version_outlines_pixels_above_a_threshold(method, photos, tmp_path):
    card = method.card
    try:
        value = card.decision.image.value
        save_method(with_thresholds(method, value, value / 8), tmp_path / "old")
    finally:
        method.card = card
    results = load_detector(tmp_path / "old", device="cpu").predict(photos)
    good = [one for one in results if not one.anomalous]
    assert len(good) == 8 and any(one.mask.any() for one in good)
    for one in results:
        np.testing.assert_array_equal(one.mask, one.map > value / 8)
        assert np.isnan(one.false_alarm_probability) and one.relative_score == one.score / value
    table = results.to_pandas()
    assert table["false_alarm_probability"].isna().all() and table["relative_score"].gt(0).all()


def test_saved_results_are_what_they_were(detector, photos, tmp_path):
    predictions = detector.predict([photos / "bad/scratched/08.png", photos / "good/00.png"])
    predictions.save(tmp_path / "out")
    written = pd.read_csv(tmp_path / "out/predictions.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written, predictions.to_pandas(), check_dtype=False)
    (maps,) = (tmp_path / "out/maps").rglob("08.png.tiff")
    assert np.array_equal(cv2.imread(str(maps), cv2.IMREAD_UNCHANGED), predictions[0].map)
    (mask,) = (tmp_path / "out/masks").rglob("08.png.png")
    assert np.array_equal(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) > 0, predictions[0].mask)
    (overlay,) = (tmp_path / "out/overlays").rglob("08.png.jpg")
    difference = np.asarray(Image.open(overlay)).astype(int) - np.asarray(predictions.overlay(0))
    assert np.abs(difference).mean() < 6
    assert all(tmp_path / "out" in path.parents for path in (maps, mask, overlay))


def test_a_photograph_wider_than_jpeg_allows(detector, tmp_path):
    wide = np.zeros((3, 70_000, 3), np.uint8)
    predictions = detector.predict(wide)
    predictions.save(tmp_path / "out")
    (overlay,) = (tmp_path / "out/overlays").iterdir()
    with Image.open(overlay) as image:
        assert image.width == 65_500
    (maps,) = (tmp_path / "out/maps").iterdir()
    assert cv2.imread(str(maps), cv2.IMREAD_UNCHANGED).shape == (3, 70_000)


def test_names_lead_nowhere_else(detector, pixels, tmp_path):
    image = Image.fromarray(pixels[8])
    image.filename = "/../../../etc/x.png"
    detector.predict(image).save(tmp_path / "out", maps=False, masks=False)
    assert [path.name for path in (tmp_path / "out/overlays").rglob("*.jpg")] == ["x.png.jpg"]
    assert (tmp_path / "out/overlays/etc/x.png.jpg").is_file()


def test_the_digest_tells_detectors_apart(detector, method):
    assert Detector(method, device="cpu").digest == detector.digest
    card = method.card
    try:
        other = Detector(with_thresholds(method, 1.0, 1.0), device="cpu").digest
    finally:
        method.card = card
    assert other != detector.digest


def test_a_detector_without_thresholds_is_refused(method):
    card = method.card
    try:
        method.card = card.with_entries(thresholds=None)
        with pytest.raises(InputError, match="no thresholds yet"):
            Detector(method)
    finally:
        method.card = card


def test_a_detector_comes_from_its_folder_or_the_newest_of_its_versions(detector, pixels, tmp_path):
    for number in (1, 2):
        save_method(detector.method, tmp_path / f"detector/2026-01-0{number}/detector")
    card = tmp_path / "detector/2026-01-02/detector/card.json"
    values = json.loads(card.read_text())
    card.write_text(json.dumps({**values, "category": "newest"}))
    loaded = load_detector(tmp_path / "detector", device="cpu")
    assert loaded.card.category == "newest" and "newest" in repr(loaded)
    np.testing.assert_allclose(loaded.predict(pixels).scores, detector.predict(pixels).scores, rtol=1e-6)
    assert load_detector(tmp_path / "detector/2026-01-01/detector").card.category == ""
    with pytest.raises(InputError, match=r"no detector; expected a folder with card\.json"):
        load_detector(tmp_path)


def test_batches_do_not_decide_results(detector, pixels):
    one, many = (detector.predict(pixels, batch_size=size).scores for size in (1, 16))
    np.testing.assert_allclose(one, many, rtol=1e-5)
