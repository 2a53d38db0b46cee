"""The three pictures of each test image: right pixels, right names, drawn one at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.figures import segmentation
from discrepancy.figures.overlays import map_scale, outline, score_picture
from discrepancy.figures.segmentation import Segmentations, picture_stems

NAMES = ["cable/test/crack/000.png", "cable/test/crack/001.png", "cable/test/good/000.png"]


def drawn(count=3, level=0.9):
    """Five photographs, the last ones tested; maps that grow from image to image; a level that widens the scale.

    Found are pixels above 1 in the first two, whose parts do not pass.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 12, 16), dtype=np.uint8)
    maps = rng.random((count, 12, 16), dtype=np.float32) * np.linspace(1, 1.2, count, dtype=np.float32)[:, None, None]
    found = (maps > 0.8) & (np.arange(count) < 2)[:, None, None]
    return images, maps, found, Segmentations(images, maps, NAMES[:count], found, level)


def test_each_image_has_score_map_binary_map_and_outline_under_its_name():
    *_, pictures = drawn()
    stems = ["crack/000", "crack/001", "good/000"]
    assert [name for name, _ in pictures] == [
        f"{stem}_{kind}.png" for stem in stems for kind in ("score", "binary", "outline")
    ]
    assert len(pictures) == 9


def test_the_pictures_are_of_their_own_image_at_the_threshold_on_one_scale():
    images, maps, found, pictures = drawn()
    made = dict(pictures)
    scale = map_scale(maps, threshold=0.9)
    assert scale != map_scale(maps)
    for row, stem in enumerate(["crack/000", "crack/001", "good/000"]):
        assert found[row].any() == (row < 2) and not found[row].all()
        np.testing.assert_array_equal(made[f"{stem}_binary.png"], np.where(found[row], 255, 0))
        np.testing.assert_array_equal(made[f"{stem}_score.png"], score_picture(maps[row], scale=scale))
        np.testing.assert_array_equal(made[f"{stem}_outline.png"], outline(images[2 + row], found[row], thickness=2))
    assert all(picture.dtype == np.uint8 for picture in made.values())


def test_an_image_is_drawn_only_when_its_turn_comes(monkeypatch):
    asked = []
    draw = segmentation.score_picture
    monkeypatch.setattr(segmentation, "score_picture", lambda map_, scale: asked.append(1) or draw(map_, scale=scale))
    *_, pictures = drawn()
    assert asked == []
    list(itertools.islice(pictures, 3))
    assert len(asked) == 1
    assert len(list(pictures)) == 9  # from the beginning again


def test_no_test_images_make_no_pictures():
    assert list(Segmentations(np.zeros((2, 3, 4, 4), np.uint8), np.zeros((0, 4, 4), np.float32), [], [], 1.0)) == []


@pytest.mark.parametrize(
    ("images", "maps", "found"),
    [((5, 3, 12, 16), (2, 12, 16), 2), ((5, 3, 12, 16), (3, 16, 12), 3), ((2, 3, 12, 16), (3, 12, 16), 3),
     ((5, 1, 12, 16), (3, 12, 16), 3), ((5, 3, 12, 16), (3, 12, 16), 2)],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(images, maps, found):
    with pytest.raises(ValueError, match=f"3 names and outlines of {found} images"):
        Segmentations(
            np.zeros(images, np.uint8), np.zeros(maps, np.float32), NAMES, np.zeros((found, *maps[1:]), bool), 1.0
        )


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["disc/test/good/000.png"], ["000"]),
        (["000.png"], ["000"]),
        (["disc/test/good/0.png", "disc/test/good/1.png"], ["0", "1"]),
        (["a/test/x/0.png", "a/test/y/0.png"], ["x/0", "y/0"]),
        (["test/x/0.png", "test/x/deep/0.png"], ["0", "deep/0"]),
        (["test/ab/0.png", "test/ac/0.png"], ["ab/0", "ac/0"]),
        (["0.png", "sub/0.png"], ["0", "sub/0"]),
        (["t/a.png", "t/a.jpg", "t/b.png"], ["a.png", "a.jpg", "b"]),
        (["t/x/a.png", "t/y/a.jpg"], ["x/a", "y/a"]),
        (["t/A.png", "t/a.jpg"], ["A.png", "a.jpg"]),
        (["t/A.png", "t/a.png"], ["A.png", "a.png-2"]),
        (["t/a.png", "t/a.jpg", "t/a.png.bmp"], ["a.png", "a.jpg", "a.png-2"]),
        (["t/Riss fein/Größe 1.5 mm.png", "t/ok/裂纹.png"], ["Riss fein/Größe 1.5 mm", "ok/裂纹"]),
        ([], []),
    ],
)
def test_stems(names, stems):
    assert picture_stems(names) == stems


PATHS = st.lists(st.sampled_from(["a", "A", "a.png", "a-2", "b"]), min_size=1, max_size=3).map("/".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PATHS, st.sampled_from(["", ".png", ".jpg", ".png-2"])).map("".join), unique=True))
def test_stems_differ_even_where_case_does_not_count(names):
    stems = picture_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
