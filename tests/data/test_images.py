"""Sizes, resizing, masks and the arrays of a whole sample table."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from discrepancy.data.images import (
    ResizeCrop,
    decode_image,
    decode_mask,
    image_array,
    image_chunks,
    mask_array,
    mask_chunks,
    parse_image_size,
)
from discrepancy.data.layouts import read_mvtec
from discrepancy.errors import InputError

REAL = Path(__file__).parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_image_size_in_all_its_forms(height, width):
    for value in ([height, width], (height, width), f"{height}x{width}", f" {height} X {width} "):
        assert parse_image_size(value) == (height, width)
    for value in (height, str(height), np.int64(height)):
        assert parse_image_size(value) == (height, height)


@pytest.mark.parametrize(
    "value",
    [0, -1, 256.0, True, None, "", "x", "12x", "0x12", "1x2x3", "-5", "²", [], [1], [1, 2, 3], [1, 0], [1, "2"]],
)
def test_other_image_sizes_are_refused(value):
    with pytest.raises(InputError, match=r"image_size is .*such as 256 or 640x256"):
        parse_image_size(value)


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 30)])
def test_an_image_of_the_right_size_is_left_as_it_is(tmp_path, shape):
    pixels = noise(*shape)
    decoded = decode_image(save(tmp_path / "a.png", pixels), (20, 30))
    expected = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else np.stack([pixels] * 3)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("size", [(10, 10), (7, 45), (64, 64)])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_resizing_equals_torch_with_antialiasing(tmp_path, size, resample):
    pixels = noise(40, 31, 3) // 2 + 64  # bicubic overshoots: away from 0 and 255 nothing is clipped
    decoded = decode_image(save(tmp_path / "a.png", pixels), size, resample=resample)
    planes = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]
    expected = torch.nn.functional.interpolate(planes, size, mode=resample, antialias=True)[0]
    np.testing.assert_allclose(decoded, expected.numpy(), atol=1.5)  # rounded after each of the two passes


@pytest.mark.parametrize("size", [(10, 10), (64, 64), (100, 7)])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(140, 131, 3), (140, 131)])
def test_resizing_is_pillows_to_a_level(tmp_path, shape, size, resample):
    pixels = noise(*shape)
    found = decode_image(save(tmp_path / "a.png", pixels), size, resample=resample).transpose(1, 2, 0)
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[resample]
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], method).convert("RGB"))
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_bilinear_is_the_default_and_lanczos_another(tmp_path):
    path = save(tmp_path / "a.png", noise(40, 31, 3))
    by_name = {name: decode_image(path, (9, 9), resample=name) for name in ("bilinear", "bicubic", "lanczos")}
    np.testing.assert_array_equal(decode_image(path, (9, 9)), by_name["bilinear"])
    assert not (by_name["lanczos"] == by_name["bicubic"]).all()


def test_grey_is_resized_as_the_same_grey_in_colour(tmp_path):
    grey = noise(40, 31)
    one = decode_image(save(tmp_path / "grey.png", grey), (13, 17))
    three = decode_image(save(tmp_path / "colour.png", np.dstack([grey] * 3)), (13, 17))
    np.testing.assert_array_equal(one, three)


def masks_of(tmp_path: Path, mask: np.ndarray) -> dict[str, Path]:
    """The same mask in every form it comes in."""
    byte = mask.astype(np.uint8)
    inverted = Image.fromarray(1 - byte, mode="P")
    inverted.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white: anomalous as it is seen
    inverted.save(tmp_path / "palette.png")
    clear = np.dstack([np.full((*mask.shape, 3), 255, np.uint8), byte * 255])
    return {
        "bits": save(tmp_path / "bits.png", mask.astype(bool)),
        "white": save(tmp_path / "white.bmp", byte * 255),
        "ones": save(tmp_path / "ones.png", byte),
        "16 bit": save(tmp_path / "deep.png", byte.astype(np.uint16)),
        "blue": save(tmp_path / "blue.png", np.dstack([byte * 0, byte * 0, byte * 255])),
        "palette": tmp_path / "palette.png",
        "white on clear": save(tmp_path / "clear.png", clear),
        "grey and alpha": save(tmp_path / "alpha.png", np.dstack([byte * 9, np.full_like(byte, 255)])),
    }


@pytest.mark.parametrize("size", [(12, 10), (5, 7), (31, 3), (1, 1)])
def test_masks_are_above_zero_and_nearest(tmp_path, size):
    mask = RNG.random((12, 10)) > 0.6
    rows = [math.floor((Fraction(i) + Fraction(1, 2)) * 12 / size[0]) for i in range(size[0])]
    columns = [math.floor((Fraction(i) + Fraction(1, 2)) * 10 / size[1]) for i in range(size[1])]
    for form, path in masks_of(tmp_path, mask).items():
        decoded = decode_mask(path, size)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask[np.ix_(rows, columns)], err_msg=form)


def test_chunks_of_images_and_masks(tmp_path):
    files = [save(tmp_path / f"{i}.png", noise(9 + i, 8)) for i in range(7)]
    images = list(image_chunks(files, (6, 5), workers=3, chunk=3))
    assert [piece.shape for piece in images] == [(3, 3, 6, 5), (3, 3, 6, 5), (1, 3, 6, 5)]
    np.testing.assert_array_equal(np.concatenate(images), [decode_image(file, (6, 5)) for file in files])
    masks = list(mask_chunks([files[0], None, files[2]], (6, 5), chunk=2))
    assert [piece.shape for piece in masks] == [(2, 6, 5), (1, 6, 5)]
    np.testing.assert_array_equal(masks[0][0], decode_mask(files[0], (6, 5)))
    assert not masks[0][1].any()


def test_a_damaged_file_among_many_is_named(tmp_path):
    files = [save(tmp_path / f"{i}.png", noise(32, 32)) for i in range(9)]
    files[5].write_bytes(files[5].read_bytes()[:300])
    for chunks in (image_chunks(files, (8, 8), chunk=2), mask_chunks(files, (8, 8), chunk=2)):
        with pytest.raises(InputError, match=r"5\.png cannot be decoded"):
            list(chunks)


@pytest.mark.parametrize("empty", ["", None, np.nan])
def test_arrays_of_a_table_follow_its_rows(tmp_path, empty):
    for i in range(3):
        save(tmp_path / f"{i}.png", noise(6, 5, 3))
    save(tmp_path / "mask.png", noise(6, 5) // 128)
    columns = {"image": ["2.png", "0.png", "1.png"], "mask": [empty, "mask.png", empty], "sha256": ["2", "0", "1"]}
    table = pd.DataFrame(columns, index=[7, 7, 1])
    images, masks = image_array(table, tmp_path, (6, 5)), mask_array(table, tmp_path, (6, 5))
    assert (images.shape, images.dtype) == ((3, 3, 6, 5), np.uint8)
    assert (masks.shape, masks.dtype) == ((3, 6, 5), bool)
    np.testing.assert_array_equal(images.to_numpy(), [decode_image(tmp_path / f"{i}.png", (6, 5)) for i in (2, 0, 1)])
    found = masks.to_numpy()
    np.testing.assert_array_equal(found[1], decode_mask(tmp_path / "mask.png", (6, 5)))
    assert not found[[0, 2]].any()


def test_the_fingerprint_is_that_of_bytes_crop_filter_and_decoder(tmp_path, monkeypatch):
    table = pd.DataFrame({"image": ["a.png", "b.png"], "sha256": ["00", "01"]})

    def fingerprint(rows=table, resize_crop=(6, 5), **options):
        return image_array(rows, tmp_path, resize_crop, **options).fingerprint

    first = fingerprint()
    renamed = fingerprint(table.assign(image=["c.png", "d.png"]))
    assert first == renamed == fingerprint(resize_crop=ResizeCrop((6, 5)), workers=3)
    others = [
        fingerprint(table[::-1]),
        fingerprint(table.assign(sha256=["00", "02"])),
        fingerprint(resize_crop=ResizeCrop((5, 6))),
        fingerprint(resize_crop=ResizeCrop((7, 6), (6, 5))),
        fingerprint(resample="lanczos"),
    ]
    monkeypatch.setattr("discrepancy.data.images.DECODER", (0, "0"))
    others.append(fingerprint())
    assert len({first, *others}) == 7


def test_arrays_of_no_rows(tmp_path):
    table = pd.DataFrame({"image": [], "mask": [], "sha256": []}, dtype=str)
    assert image_array(table, tmp_path, (6, 5)).to_numpy().shape == (0, 3, 6, 5)
    assert mask_array(table, tmp_path, (6, 5)).to_numpy().shape == (0, 6, 5)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real inspection images are not here")
@pytest.mark.parametrize(("category", "size"), [("kolektorsdd", (640, 256)), ("leather_sample", (256, 256))])
def test_real_photographs(category, size):
    table = read_mvtec(REAL / category, root=REAL)
    shown = pd.concat([table[table["label"] == 1].head(12), table[table["height"] != size[0]].head(4)])
    images, masks = image_array(shown, REAL, size).to_numpy(), mask_array(shown, REAL, size).to_numpy()
    assert images.shape == (len(shown), 3, *size)
    assert masks.any((1, 2)).tolist() == (shown["label"] == 1).tolist()
    for row, name in enumerate(shown["image"]):
        with Image.open(REAL / name) as image:
            expected = image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        # Pillow's and PyTorch's filters round a few values to neighbouring levels.
        np.testing.assert_allclose(images[row].astype(int), np.asarray(expected).transpose(2, 0, 1), atol=1)
