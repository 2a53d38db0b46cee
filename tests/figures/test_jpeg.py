"""Pictures for pages stay within their bytes, and keep their shape and their colours."""

import io

import numpy as np
from PIL import Image

from discrepancy.figures.jpeg import SMALLEST, jpegs, smaller, within

NOISE = np.random.default_rng(0).integers(0, 256, (200, 400, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.linspace(0, 120, 200), np.linspace(0, 120, 400))[..., None].repeat(3, axis=2).astype(np.uint8)


def opened(content):
    return Image.open(io.BytesIO(content))


def test_pictures_that_fit_keep_their_size_and_colours():
    first, second = jpegs([SMOOTH, SMOOTH[:100]], most=1_000_000)
    assert opened(first).format == "JPEG" and opened(first).size == (400, 200) and opened(second).size == (400, 100)
    assert np.abs(np.asarray(opened(first)).astype(int) - SMOOTH).max() < 6


def test_pictures_that_do_not_fit_become_smaller_together():
    free = jpegs([NOISE, NOISE[:, :200]], most=10**9)
    files = jpegs([NOISE, NOISE[:, :200]], most=60_000)
    assert sum(map(len, files)) <= 60_000 < sum(map(len, free))
    (width, height), square = (opened(file).size for file in files)
    assert width < 400 and abs(width - 2 * height) <= 1 and square == (min(200, width),) * 2


def test_they_never_become_tiny():
    assert opened(jpegs([NOISE], most=1)[0]).size == (SMALLEST, SMALLEST // 2)
    assert jpegs([], most=1) == []


def test_a_drawing_stays_sharp_and_a_photograph_becomes_small():
    drawing = np.full((300, 300, 3), 255, np.uint8)
    drawing[100:102] = (200, 0, 0)
    np.testing.assert_array_equal(np.asarray(opened(smaller(drawing, most=10**6)).convert("RGB")), drawing)
    photograph = opened(smaller(NOISE, most=50_000))
    assert photograph.format == "JPEG" and len(smaller(NOISE, most=50_000)) <= 50_000


def test_only_larger_pictures_are_made_smaller():
    assert within(NOISE, 400) is NOISE
    assert within(NOISE, 100).shape == (50, 100, 3)
    np.testing.assert_allclose(within(NOISE, 200), NOISE.reshape(100, 2, 200, 2, 3).mean(axis=(1, 3)), atol=1)
