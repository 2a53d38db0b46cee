"""The picture of correlations: what stands where, and which patches are taken."""

import numpy as np
import pytest

from discrepancy.methods.fod.correlation_figure import Correlations, Level, Patch, choose_patches, correlation_figure
from discrepancy.methods.fod.pictures import SUBTITLE


def correlations(patches, rows, columns, seed):
    rng = np.random.default_rng(seed)
    return Correlations(
        rng.random((patches, rows, columns)), rng.random((patches, rows, columns)), rng.random(patches) + 3
    )


def draw(size=(64, 96), branches=("intra", "inter")):
    image = np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8)
    patches = [Patch("good patch", (10, 20), "blue"), Patch("anomalous patch", (40, 70), "red")]
    levels = [
        Level("first", [(2, 3), (5, 8)], {b: correlations(2, 8, 12, i) for i, b in enumerate(branches)}),
        Level("second", [(1, 1), (2, 4)], {b: correlations(2, 4, 6, i + 5) for i, b in enumerate(branches)}),
    ]
    return correlation_figure(image, patches, levels, title="Title", subtitle=SUBTITLE), image, levels


def axes_of(figure):
    return {axes.get_gid(): axes for axes in figure.axes}


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (250, 100)])
def test_every_map_stands_in_its_place(size):
    figure, image, levels = draw(size)
    axes = axes_of(figure)
    assert len(axes) == len(figure.axes) == 2 * 2 * 5
    assert figure.get_size_inches()[0] * figure.dpi == 1100
    for index, level in enumerate(levels):
        for row in range(2):
            photograph = axes[f"photograph-{index}-{row}"]
            np.testing.assert_array_equal(photograph.images[0].get_array(), image.transpose(1, 2, 0))
            for branch, found in level.branches.items():
                for name in ("learnt", "target"):
                    shown = axes[f"{branch}-{name}-{index}-{row}"]
                    np.testing.assert_allclose(shown.images[0].get_array(), getattr(found, name)[row])
                    (mark,) = shown.patches
                    assert mark.get_xy() == (level.cells[row][1] - 0.5, level.cells[row][0] - 0.5)
                    assert shown.images[0].get_clim() == (0, getattr(found, name)[row].max())


def test_the_words_say_which_is_which():
    figure, _, levels = draw()
    words = [text.get_text() for text in figure.texts]
    assert words.count("good patch") == words.count("anomalous patch") == 2
    assert {"Title", SUBTITLE, "first, 8x12 patches", "second, 4x6 patches"} <= set(words)
    divergence = levels[1].branches["inter"].divergence[1]
    assert any(word.startswith("target") and word.endswith(f"J {divergence:.2f}") for word in words)


def test_long_names_are_cut():
    image = np.zeros((3, 64, 96), np.uint8)
    level = Level("layer" * 20, [(2, 3)], {"intra": correlations(1, 8, 12, 0)})
    figure = correlation_figure(
        image, [Patch("one", (1, 2), "blue")], [level], title="folder/" * 40, subtitle="s" * 400
    )
    renderer = figure.canvas.get_renderer()
    heading = next(text for text in figure.texts if text.get_text().startswith("layer"))
    next_column = next(text for text in figure.texts if text.get_text().startswith("intra"))
    assert heading.get_window_extent(renderer).x1 < next_column.get_window_extent(renderer).x0
    assert all(text.get_window_extent(renderer).x1 <= 1100 for text in figure.texts)


def test_nothing_overlaps():
    figure, _, _ = draw((96, 64))
    boxes = [axes.get_position() for axes in figure.axes]
    for i, one in enumerate(boxes):
        assert 0 <= one.x0 < one.x1 <= 1 and 0 <= one.y0 < one.y1 <= 1
        for other in boxes[i + 1 :]:
            assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0


def test_one_branch_alone_takes_three_columns():
    figure, _, _ = draw(branches=("intra",))
    assert len(figure.axes) == 2 * 2 * 3


def test_patches_are_the_worst_in_the_mask_and_the_one_opposite():
    scores = np.zeros((40, 48))
    scores[2, 3], scores[27, 9] = 5, 9
    mask = np.zeros((40, 48), bool)
    mask[1:4, 2:5] = True
    good, worst = choose_patches(scores, mask)
    assert worst.place == (2, 3) and worst.name == "anomalous patch"  # not the higher score outside the mask
    assert good.place == (37, 44) and good.name == "good patch"


@pytest.mark.parametrize("defect", [(slice(30, 34), slice(10, 50)), (slice(28, 36), slice(28, 36))])
def test_a_good_patch_lies_well_away_from_a_defect_in_the_middle(defect):
    scores = np.arange(64.0 * 60).reshape(64, 60)
    mask = np.zeros((64, 60), bool)
    mask[defect] = True
    good, worst = choose_patches(scores, mask)
    rows, columns = np.nonzero(mask)
    distances = {(y, x): np.hypot(rows - y, columns - x).min() for y in range(64) for x in range(60) if not mask[y, x]}
    far = sorted(scores[place] for place, distance in distances.items() if distance >= 8)
    assert mask[worst.place] and distances[good.place] >= 8
    assert scores[good.place] == far[len(far) // 2]  # the median there


def test_where_hardly_anything_is_good_the_farthest_place_is_taken():
    scores, mask = np.zeros((32, 32)), np.ones((32, 32), bool)
    mask[:3, 29:] = False
    good, _ = choose_patches(scores, mask)
    assert good.place == (0, 31)


def test_without_a_mask_the_highest_score_is_taken():
    scores = np.zeros((10, 12))
    scores[7, 9] = 9
    good, worst = choose_patches(scores, np.zeros((10, 12), bool))
    assert worst.place == (7, 9) and worst.name == "highest score" and good.place == (2, 2)
    everywhere = choose_patches(scores, np.ones((10, 12), bool))
    assert everywhere[1].place == (7, 9)
