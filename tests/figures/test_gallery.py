"""What the gallery draws, read back from the figure."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.path import Path
from PIL import Image

from discrepancy.figures import page as layout
from discrepancy.figures.cases import Section, choose_cases
from discrepancy.figures.gallery import gallery
from discrepancy.figures.overlays import map_scale

THRESHOLDS = {"level": 0.6, "image_threshold": 0.8}


def made_up(count, height=24, width=32, seed=0):
    """Noise photographs, every second with a square defect that its map sees more or less well."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    maps = 0.5 * rng.random((count, height, width), dtype=np.float32)
    masks = np.zeros((count, height, width), dtype=bool)
    for i in range(1, count, 2):
        masks[i, 5:12, 8:15] = True
        maps[i, 6:13, 8:15] += np.float32(0.15 * i)
    labels = np.arange(count) % 2
    samples = pd.DataFrame(
        {
            "image": [f"test/kind/{i:03d}.png" for i in range(count)],
            "label": labels,
            "defect": np.where(labels == 1, "dent", "good"),
            "score": maps.max(axis=(1, 2)),
        },
        index=np.arange(count) + 100,  # a slice of a longer table
    )
    return images, masks, maps, samples


def outlined(maps, samples):
    """Pixels above 0.6; none of a part that passes."""
    return (maps > 0.6) & (samples["score"].to_numpy() > 0.8)[:, None, None]


def drawn(images, masks, maps, samples, **options):
    return gallery(images, masks, maps, samples, **{"found": outlined(maps, samples), **THRESHOLDS, **options})


def axes_of(figure, kind):
    """The pictures of a kind, by position of their case."""
    found = [axes for axes in figure.axes if (axes.get_gid() or "").startswith(kind + "-")]
    return {int(axes.get_gid().split("-")[1]): axes for axes in found}


def texts(figure):
    return [text.get_text() for text in figure.texts]


def filled(axes, shape):
    """Which pixels [H, W] lie inside the drawn outline, by the even-odd rule."""
    (lines,) = [c for c in axes.collections if isinstance(c, LineCollection) and c.get_gid() == "outline"]
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape[0] * shape[1], dtype=bool)
    for segment in lines.get_segments():
        inside ^= Path(segment).contains_points(np.column_stack([xs.ravel(), ys.ravel()]))
    return inside.reshape(shape)


def test_each_case_has_four_pictures_that_show_its_data(tmp_path):
    *arrays, samples = made_up(6)
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
    images, masks, maps = (np.load(tmp_path / f"{i}.npy", mmap_mode="r") for i in range(3))
    sections = [Section("Some", [4, 1]), Section("", [5])]
    figure = drawn(images, masks, maps, samples, sections=sections)
    for kind in ("photograph", "truth", "map", "found"):
        assert set(axes_of(figure, kind)) == {4, 1, 5}
    assert [outlined(maps, samples)[i].any() for i in (4, 1, 5)] == [False, False, True]
    for i in (4, 1, 5):
        for kind in ("photograph", "found"):
            (shown,) = axes_of(figure, kind)[i].images
            np.testing.assert_array_equal(shown.get_array(), images[i].transpose(1, 2, 0))
        (shown,) = axes_of(figure, "map")[i].images
        np.testing.assert_array_equal(shown.get_array(), maps[i])
        assert shown.get_extent() == [0, 32, 24, 0]
        np.testing.assert_array_equal(filled(axes_of(figure, "found")[i], (24, 32)), outlined(maps, samples)[i])
        np.testing.assert_array_equal(filled(axes_of(figure, "truth")[i], (24, 32)), masks[i])
        assert axes_of(figure, "truth")[i].images[0].get_array().shape == (24, 32, 3)


def test_all_maps_and_the_colour_bar_share_one_scale_of_the_whole_category():
    images, masks, maps, samples = made_up(8)
    figure = drawn(images, masks, maps, samples, sections=[Section("", [0, 3])])
    low, high = map_scale(maps, threshold=0.6)
    assert (low, high) != map_scale(maps[[0, 3]], threshold=0.6)
    for axes in axes_of(figure, "map").values():
        assert axes.images[0].get_clim() == (low, high)
        assert axes.images[0].get_cmap().name == "inferno"
    (bar,) = [axes for axes in figure.axes if axes.get_gid() == "scale"]
    assert bar.get_xlim() == pytest.approx((low, high))
    assert [line.get_xdata()[0] for line in bar.lines if line.get_color() == "#D55E00"] == [0.6]  # the threshold
    other = drawn(images, masks, maps, samples, scale=(0.0, 9.0))
    assert all(axes.images[0].get_clim() == (0.0, 9.0) for axes in axes_of(other, "map").values())


def test_rows_say_file_kind_score_and_decision():
    images, masks, maps, samples = made_up(4)
    samples["score"] = [0.9, 0.7, 0.1, 1.25]
    figure = drawn(images, masks, maps, samples, title="Press 7 costs $5_{$")
    said = texts(figure)
    assert said[0] == "Press 7 costs $5_{$"
    assert said[1].startswith("1 of 2 defective parts found, 1 false alarm among 2 good parts.")
    assert "0.800" in said[1]
    for i, (words, decision) in enumerate(
        [
            ("000.png · good", "score 0.900 · good, false alarm"),
            ("001.png · dent", "score 0.700 · defective, missed"),
            ("002.png · good", "score 0.100 · good, passed"),
            ("003.png · dent", "score 1.25 · defective, found"),
        ]
    ):
        assert said[said.index(words) + 1] == decision
        colour = figure.texts[said.index(decision)].get_color()
        assert (colour == "#D55E00") == (i < 2)  # only wrong decisions are red
    figure.savefig(io.BytesIO())


def test_the_default_cases_are_those_of_choose_cases():
    images, masks, maps, samples = made_up(20)
    figure = drawn(images, masks, maps, samples)
    sections = choose_cases(samples["score"], samples["label"], threshold=0.8)
    assert set(axes_of(figure, "map")) == {i for section in sections for i in section.cases}
    for section in sections:
        assert section.heading in texts(figure)


def test_cases_stand_below_their_section_and_do_not_overlap():
    images, masks, maps, samples = made_up(40, height=80)  # tall: several to a row
    sections = choose_cases(samples["score"], samples["label"], threshold=0.8)
    figure = drawn(images, masks, maps, samples, sections=sections)
    boxes = [
        axes.get_position()
        for kind in ("photograph", "truth", "map", "found")
        for axes in axes_of(figure, kind).values()
    ]
    assert len(boxes) == 32
    for i, a in enumerate(boxes):
        assert a.x0 >= 0 and a.y0 >= 0 and a.x1 <= 1 and a.y1 <= 1
        for b in boxes[:i]:
            assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
    tops = {round(box.y1, 6) for box in boxes}
    assert len(tops) == 4  # two cases side by side
    headings = [
        text.get_position()[1] for text in figure.texts if text.get_fontsize() == 10 and text.get_fontweight() == "bold"
    ]
    assert len(headings) == 2
    assert sum(top < headings[1] for top in tops) == 2


@pytest.mark.parametrize(
    ("count", "height"),
    [(2, 24), (8, 32), (8, 160)],  # one, two and three to a row
)
def test_long_names_are_cut_so_that_no_words_overlap(count, height):
    images, masks, maps, samples = made_up(count, height=height)
    samples["image"], samples["defect"] = "WWWWW" * 40 + ".png", "MMMMM" * 20
    sections = [Section("Heading", list(range(count)))]
    figure = drawn(images, masks, maps, samples, sections=sections, title="Title " * 40)
    boxes = [text.get_window_extent() for text in figure.texts]
    pictures = [axes.get_window_extent() for kind in ("photograph", "map") for axes in axes_of(figure, kind).values()]
    for i, a in enumerate(boxes):
        assert a.x0 >= 0 and a.x1 <= layout.WIDTH
        assert not any(a.overlaps(b) for b in boxes[:i] + pictures), figure.texts[i].get_text()


def test_without_masks_there_is_no_ground_truth():
    images, _, maps, samples = made_up(4)
    figure = drawn(images, None, maps, samples)
    assert not axes_of(figure, "truth") and len(axes_of(figure, "found")) == 4
    assert not any("truth" in text.lower() for text in texts(figure))


def test_empty_masks_are_explained():
    images, masks, maps, samples = made_up(2)
    figure = drawn(images, np.zeros_like(masks), maps, samples)
    said = {i: [text.get_text() for text in axes.texts] for i, axes in axes_of(figure, "truth").items()}
    assert said == {0: ["good part"], 1: ["no mask"]}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.filterwarnings("error")
def test_constant_maps_of_good_images_only(count):
    images, masks, maps, samples = made_up(count)
    samples["label"], maps = 0, np.full_like(maps, 2.0)
    figure = drawn(images, masks, maps, samples, level=np.inf, image_threshold=3.0)
    figure.savefig(io.BytesIO())
    assert len(axes_of(figure, "map")) == count
    assert texts(figure)[1].startswith("0 false alarms among")


def test_maps_of_another_size_are_laid_over_the_photograph():
    images, masks, _, samples = made_up(2)
    small = np.zeros((2, 12, 8), dtype=np.float32)
    small[1, 3:6, 2:4] = 1.0
    figure = drawn(images, masks, small, samples, found=small > 0.6)
    expected = np.repeat(np.repeat(small[1] > 0.6, 2, axis=0), 4, axis=1)
    inside = filled(axes_of(figure, "found")[1], (24, 32))
    # The outline of a coarse mask cuts its corners by half a coarse pixel at most.
    assert inside[7:11, 10:14].all() and not inside[~expected].any()
    assert axes_of(figure, "map")[1].images[0].get_extent() == [0, 32, 24, 0]


def test_large_photographs_are_shown_smaller_and_outlined_exactly():
    images, masks, maps, samples = made_up(2, height=500, width=1000)
    figure = drawn(images, masks, maps, samples)
    axes = axes_of(figure, "photograph")[1]
    shown = np.asarray(axes.images[0].get_array())
    assert shown.shape[1] < 600 and axes.images[0].get_extent() == [0, 1000, 500, 0]
    expected = cv2.resize(images[1].transpose(1, 2, 0), shown.shape[1::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shown, expected)
    (lines,) = [c for c in axes_of(figure, "truth")[1].collections if c.get_gid() == "outline"]
    (segment,) = lines.get_segments()
    assert segment.min(axis=0).tolist() == [8, 5] and segment.max(axis=0).tolist() == [15, 12]


@pytest.mark.parametrize(("shape", "tallest"), [((256, 256), 1600), ((640, 256), 2000), ((128, 512), 1900)])
def test_a_page_of_sixteen_cases_stays_handy(shape, tallest):
    grid = layout.plan([(8, True), (8, True)], 4, shape[0] / shape[1])
    assert grid.height <= tallest
    assert grid.panel_width >= 75
    right = grid.block_left(grid.across - 1) + grid.block_width
    assert right == pytest.approx(layout.WIDTH - layout.MARGIN)


def test_a_report_page_is_a_small_file():
    images, _, maps, samples = made_up(16, 64, 64)
    maps = np.stack([cv2.GaussianBlur(one, (0, 0), 4) for one in maps])
    smooth = np.stack([cv2.GaussianBlur(image.transpose(1, 2, 0), (0, 0), 2) for image in images])
    images = np.stack([cv2.resize(image, (256, 256)).transpose(2, 0, 1) for image in smooth])
    figure = drawn(images, None, maps, samples, sections=[Section("", list(range(16)))])
    file = io.BytesIO()
    figure.savefig(file)
    assert len(file.getvalue()) < 1_500_000
    assert Image.open(file).width == 1100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": np.zeros((2, 24, 32))}, "rows"),
        ({"images": np.zeros((3, 24, 32, 3), np.uint8)}, r"\[N, 3, H, W\]"),
        ({"masks": np.zeros((3, 8, 8), bool)}, "masks"),
        ({"found": np.zeros((2, 24, 32), bool)}, "outlines of 3 images, found 2"),
        ({"samples": pd.DataFrame({"image": ["a"] * 3, "label": 0, "score": 1.0})}, "defect"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, message):
    given = dict(zip(("images", "masks", "maps", "samples"), made_up(3), strict=True))
    given |= {"found": np.zeros((3, 24, 32), bool), **change}
    with pytest.raises(ValueError, match=message):
        gallery(**given, **THRESHOLDS)
