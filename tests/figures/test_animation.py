"""The animation shows the test images in order, with what was decided, in a file that may be sent."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image, ImageSequence

from discrepancy.figures import style
from discrepancy.figures.animation import FRAMES, animation
from discrepancy.figures.overlays import map_scale, score_picture
from tests.made_up_report import made_up_test_set


def outlined(maps, scores):
    """The left half of every anomalous image: what no threshold of the map would give."""
    found = np.zeros(maps.shape, bool)
    found[scores["score"] > 0.5, :, : maps.shape[2] // 2] = True
    return found


def drawn(count, *, side=160, most=10**9, title="DFC on gear (synthetic images)"):
    images, _, scored, scores = made_up_test_set(count // 2, count - count // 2, side=side)
    found = outlined(scored.maps, scores)
    content = animation(images, scored.maps, scores, found, level=0.5, image_threshold=0.5, title=title, most=most)
    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(content)))]
    return content, frames, images, scored.maps, scores


def test_each_frame_is_photograph_and_map():
    content, frames, images, maps, _ = drawn(6)
    film = Image.open(io.BytesIO(content))
    assert len(frames) == 6 and film.info["loop"] == 0 and film.info["duration"] == 800
    scale = map_scale(maps, threshold=0.5)
    for frame, image, anomaly_map in zip(frames, images, maps, strict=True):
        photograph, coloured = frame[26:186, 6:166], frame[26:186, 170:330]
        below = slice(60, None)  # the outline, if there is one
        shown, given = photograph[below].ravel(), image.transpose(1, 2, 0)[below].ravel()
        assert np.corrcoef(shown, given)[0, 1] > 0.9
        expected = score_picture(anomaly_map, scale=scale).astype(int)
        assert np.abs(coloured.astype(int) - expected).mean() < 10


def test_what_was_found_is_outlined_and_a_part_that_passes_is_not():
    _, frames, _, maps, scores = drawn(6)
    found = outlined(maps, scores)
    assert 0 < found.any(axis=(1, 2)).sum() < 6
    colour = np.array([int(style.FOUND[i : i + 2], 16) for i in (1, 3, 5)])
    for frame, mask in zip(frames, found, strict=True):
        photograph = frame[26:186, 6:166].astype(int)
        near = np.abs(photograph - colour).max(axis=2) < 60
        edge, elsewhere = near[20:140, 78:82].any(axis=1).mean(), near[20:140, 100:140].mean()
        assert (edge > 0.9) == mask.any() and elsewhere < 0.1


def test_the_decision_has_its_colour():
    _, frames, *_, scores = drawn(6)
    colours = [np.rint(255 * np.array(to_rgb(colour))) for colour in (style.RIGHT, style.WRONG)]
    for frame, (label, score) in zip(frames, scores[["label", "score"]].to_numpy(), strict=True):
        below = frame[190:206].reshape(-1, 3).astype(int)
        right, wrong = (np.abs(below - colour).sum(axis=1).min() for colour in colours)
        assert (right < wrong) == ((score > 0.5) == bool(label))


def test_of_many_images_an_even_selection_is_shown():
    _, frames, _, maps, _ = drawn(3 * FRAMES + 1, side=24)
    assert len(maps) == 121 and len(frames) == FRAMES


@pytest.mark.parametrize("most", [200_000, 80_000, 30_000])
def test_it_fits(most):
    content, frames, *_ = drawn(8, side=200, most=most)
    assert len(content) <= most and frames and len(drawn(8, side=200)[0]) > 200_000


def test_names_in_any_script_and_of_any_length_are_written(recwarn):
    drawn(2, title="部品 " + "long " * 60)
    assert not recwarn
