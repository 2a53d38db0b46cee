"""Maps go back to the photographs' sizes: values stay raw, and places are those of the photograph."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from discrepancy.data.images import ResizeCrop, decode_image, decode_mask
from discrepancy.data.native_resolution import NativeResolutionMaps, at_original_size

RNG = np.random.default_rng(0)


def naive(anomaly_map, size):
    """Bilinear interpolation between the centres of the pixels, written out."""
    rows, columns = anomaly_map.shape
    result = np.empty(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * rows / size[0] - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / size[1] - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            above = anomaly_map[top, left] * (1 - x + left) + anomaly_map[top, right] * (x - left)
            below = anomaly_map[low, left] * (1 - x + left) + anomaly_map[low, right] * (x - left)
            result[i, j] = above * (1 - y + top) + below * (y - top)
    return result


@pytest.mark.parametrize("size", [(24, 30), (9, 31), (8, 10)])
def test_enlarging_is_bilinear_between_pixel_centres(size):
    anomaly_map = RNG.normal(size=(8, 10)).astype(np.float32) * 1000
    found = at_original_size(anomaly_map, ResizeCrop((8, 10)), size)
    assert found.dtype == np.float32 and found.shape == size
    np.testing.assert_allclose(found, naive(anomaly_map, size), rtol=1e-4, atol=1)
    if size == (8, 10):
        np.testing.assert_array_equal(found, anomaly_map)


def test_shrinking_takes_means():
    anomaly_map = RNG.normal(size=(12, 12)).astype(np.float32)
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(anomaly_map)[None], 3)[0]
    np.testing.assert_allclose(at_original_size(anomaly_map, ResizeCrop((12, 12)), (4, 4)), expected, atol=1e-6)


def test_outside_a_crop_stands_the_lowest_value():
    resize_crop = ResizeCrop((20, 16), (10, 8))
    anomaly_map = RNG.normal(5, 1, (10, 8)).astype(np.float32)
    found = at_original_size(anomaly_map, resize_crop, (20, 16))
    np.testing.assert_array_equal(found[5:15, 4:12], anomaly_map)
    outside = np.ones((20, 16), bool)
    outside[5:15, 4:12] = False
    assert (found[outside] == anomaly_map.min()).all()


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"Expected a map of \(10, 8\), found \(20, 16\)"):
        at_original_size(np.zeros((20, 16), np.float32), ResizeCrop((20, 16), (10, 8)), (40, 32))


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_spot_comes_back_to_where_it_was_in_the_photograph(tmp_path_factory, data):
    """Mask -> array of the resizing and cropping -> map of it -> original size: the spot is there again."""
    height, width = (data.draw(st.integers(40, 90)) for _ in range(2))
    resized = (data.draw(st.integers(20, 60)), data.draw(st.integers(20, 60)))
    crop = data.draw(st.none() | st.tuples(st.integers(12, resized[0]), st.integers(12, resized[1])))
    resize_crop = ResizeCrop(resized, crop)
    row, column = height // 2, width // 2
    mask = np.zeros((height, width), np.uint8)
    mask[row - 6 : row + 6, column - 6 : column + 6] = 255
    path = tmp_path_factory.mktemp("spot") / "mask.png"
    Image.fromarray(mask).save(path)
    found = at_original_size(decode_mask(path, resize_crop).astype(np.float32), resize_crop, (height, width)) > 0.5
    centre = np.argwhere(found).mean(0)
    assert np.abs(centre - np.argwhere(mask).mean(0)).max() <= max(height / resized[0], width / resized[1])


@pytest.mark.parametrize("crop", [(10, 10), (11, 7), (20, 16)])
def test_the_crop_is_the_centre_of_the_resized_photograph(tmp_path, crop):
    pixels = RNG.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray((pixels[..., 0] > 200).astype(np.uint8)).save(tmp_path / "mask.png")
    top, left = (20 - crop[0]) // 2, (16 - crop[1]) // 2
    inside = np.s_[top : top + crop[0], left : left + crop[1]]
    resize_crop = ResizeCrop((20, 16), crop)
    assert resize_crop.size == crop
    whole, mask = decode_image(tmp_path / "a.png", (20, 16)), decode_mask(tmp_path / "mask.png", (20, 16))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", resize_crop), whole[:, *inside])
    np.testing.assert_array_equal(decode_mask(tmp_path / "mask.png", resize_crop), mask[inside])


def test_names_are_those_of_the_photographs():
    names = ["cap/test/dent/0.png", "cap/test/dent/1.png", "cap/test/dent/1.JPG"]
    maps = np.arange(3 * 16, dtype=np.float32).reshape(3, 4, 4)
    found = dict(NativeResolutionMaps(maps, names, [(4, 4), (8, 6), (4, 4)], ResizeCrop((4, 4))))
    assert list(found) == ["cap/test/dent/0.tiff", "cap/test/dent/1.png.tiff", "cap/test/dent/1.JPG.tiff"]
    assert [values.shape for values in found.values()] == [(4, 4), (8, 6), (4, 4)]
    np.testing.assert_array_equal(found["cap/test/dent/1.JPG.tiff"], maps[2])
