"""The strokes and fills of self-feature enhancement."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.methods.dfc.corruption import IMAGENET_MEAN, KINDS, Corruption, Strokes


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(5).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 3).transpose(2, 0, 1))


def test_coverage_is_that_of_the_papers_strokes():
    """Mean 6.7 %, median 6.1 %, 5th to 95th percentile 1.3 to 14 %: measured on the original's masks."""
    rng = np.random.default_rng(0)
    coverage = np.array([Strokes().mask((256, 256), rng).mean() for _ in range(1500)])
    assert coverage.mean() == pytest.approx(0.067, abs=0.006)
    assert np.median(coverage) == pytest.approx(0.061, abs=0.006)
    assert np.percentile(coverage, [5, 95]) == pytest.approx([0.013, 0.14], abs=0.015)


def test_strokes_are_drawn_by_the_papers_rules(monkeypatch):
    """Steps of at most 32 px, even widths of 8 to 47 px, 2 to 15 vertices in 40..216, and the paper's turns.

    The first angle is half of a fresh 0..180 degrees, mirrored: up and to the right. The second is the mean of that and
    a fresh one: 135 to 270 degrees, never to the right.
    """
    drawn = []
    monkeypatch.setattr(cv2, "line", lambda canvas, a, b, colour, width: drawn.append((a, b, width)))
    for seed in range(400):
        drawn.clear()
        Strokes(strokes=1).mask((256, 256), np.random.default_rng(seed))
        assert 2 <= len(drawn) <= 15
        points = np.array([end for _, end, _ in drawn])
        assert points.min() >= 40 and points.max() <= 216
        assert all(a == b for (_, a, _), (b, _, _) in pairwise(drawn))
        assert all(width % 2 == 0 and 8 <= width <= 47 for _, _, width in drawn)
        (x, y), (x1, y1) = drawn[0][:2]
        assert min(x, y) >= 20 and max(x, y) <= 236
        if min(x, y) >= 40 and max(x, y) <= 216:
            assert np.hypot(x1 - x, y1 - y) <= 33.5
            assert x1 >= x and y1 <= y
            assert drawn[1][1][0] <= x1


def test_paper_strokes_stay_off_the_border_and_ours_reach_it():
    rng = np.random.default_rng(1)
    paper = sum(Strokes().mask((256, 256), rng).astype(int) for _ in range(300))
    ours = sum(Strokes(margin=0, start=0).mask((256, 256), rng).astype(int) for _ in range(300))
    inner = np.zeros((256, 256), bool)
    inner[16:-16, 16:-16] = True
    assert paper[~inner].sum() / paper.sum() < 0.005
    assert (ours[0] > 0).any() and (ours[:, -1] > 0).any()


def test_strokes_scale_with_the_image_and_lengthen_with_it():
    rng = np.random.default_rng(2)
    square = np.mean([Strokes().mask((256, 256), rng).mean() for _ in range(600)])
    large = np.mean([Strokes().mask((512, 512), rng).mean() for _ in range(600)])
    tall = np.mean([Strokes().mask((768, 256), rng).mean() for _ in range(600)])
    assert large == pytest.approx(square, rel=0.15)
    assert tall == pytest.approx(square, rel=0.3)  # more strokes, overlapping a little more


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_inside_changes(image, kind):
    corrupt = Corruption((kind,), images=[image[:, ::-1].copy()] if kind == "image" else None)
    before = image.copy()
    corrupted, mask = corrupt(image, np.random.default_rng(3))
    assert corrupted.dtype == np.uint8 and corrupted.shape == image.shape
    assert mask.any() and not mask.all()
    np.testing.assert_array_equal(corrupted[:, ~mask], image[:, ~mask])
    assert (corrupted[:, mask] != image[:, mask]).mean() > 0.5
    np.testing.assert_array_equal(image, before)


def test_mean_colour_is_zero_in_normalised_space(image):
    corrupted, mask = Corruption(("mean_colour",))(image, np.random.default_rng(4))
    normalised = corrupted[:, mask] / 255 - np.array(IMAGENET_MEAN)[:, None] / 255
    assert np.abs(normalised).max() <= 0.5 / 255


def test_inpainting_equals_telea_on_the_whole_picture(image):
    for seed in range(8):
        corrupted, mask = Corruption(("inpaint",))(image, np.random.default_rng(seed))
        whole = cv2.inpaint(np.ascontiguousarray(image.transpose(1, 2, 0)), mask.astype(np.uint8), 5, cv2.INPAINT_TELEA)
        np.testing.assert_array_equal(corrupted, whole.transpose(2, 0, 1))


def test_colour_blends_one_colour_of_the_image(image):
    """inside = a * image + (1 - a) * colour, a in [0.1, 0.5): linear in the image, one slope and three offsets."""
    for seed in range(10):
        corrupted, mask = Corruption(("colour",))(image, np.random.default_rng(seed))
        slopes, offsets = zip(
            *(np.polyfit(image[c][mask].astype(float), corrupted[c][mask].astype(float), 1) for c in range(3)),
            strict=True,
        )
        assert np.ptp(slopes) < 0.03 and 0.08 < np.mean(slopes) < 0.52
        colour = np.array(offsets) / (1 - np.mean(slopes))
        distance = np.abs(image.reshape(3, -1).T - colour).max(1).min()
        assert distance < 4  # that colour occurs in the image


@pytest.mark.parametrize("kind", ["noise", "image"])
def test_blends_keep_three_to_eight_tenths(image, kind):
    other = np.full_like(image, 200)
    for seed in range(10):
        corrupted, mask = Corruption((kind,), images=[other])(image, np.random.default_rng(seed))
        slope, _ = np.polyfit(image[0][mask].astype(float), corrupted[0][mask].astype(float), 1)
        assert 0.2 < slope < 0.9
        if kind == "image":
            assert 0.29 < slope < 0.81


def test_every_kind_is_drawn_evenly(image, monkeypatch):
    drawn = []
    corrupt = Corruption(KINDS[:4])
    monkeypatch.setattr(corrupt, "_fill", lambda kind, image, mask, rng: drawn.append(kind) or 0)
    for seed in range(400):
        corrupt(image, np.random.default_rng(seed))
    counts = [drawn.count(kind) for kind in KINDS[:4]]
    assert sum(counts) == 400 and min(counts) > 70


@pytest.mark.parametrize("kind", KINDS[:4])
def test_strokes_that_miss_every_pixel_change_nothing(kind, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    corrupt = Corruption([kind])
    monkeypatch.setattr(Strokes, "mask", lambda self, size, rng: np.zeros(size, bool))
    corrupted, mask = corrupt(picture, np.random.default_rng(0))
    np.testing.assert_array_equal(corrupted, picture)
    assert not mask.any()


@given(seed=st.integers(0, 2**32), height=st.integers(32, 90), width=st.integers(32, 90))
@example(seed=2979, height=32, width=32)
def test_the_generator_alone_decides(seed, height, width):
    picture = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    corrupt = Corruption(strokes=Strokes(margin=0, start=0))
    first, mask = corrupt(picture, np.random.default_rng(seed))
    again, mask_again = corrupt(picture, np.random.default_rng(seed))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(mask, mask_again)


@pytest.mark.parametrize(("kinds", "said"), [(("blur",), "blur"), ((), "none"), (("image",), "blend_folder")])
def test_wrong_kinds_are_refused(kinds, said):
    with pytest.raises(InputError, match=said):
        Corruption(kinds)
