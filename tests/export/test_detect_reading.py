"""The bundle's program reads photographs as the package does, or refuses them."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from discrepancy.data.reading import read_photograph
from discrepancy.data.resizing import resized
from discrepancy.errors import InputError
from discrepancy.export import detect

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 4096, (20, 30), dtype=np.uint16)


def saved(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def with_alpha(mode, values):
    image = Image.fromarray(COLOURS).convert(mode)
    image.putalpha(Image.fromarray(np.broadcast_to(np.uint8(values), (20, 30)).copy()))
    return image


def turned(orientation, image=None, kind="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(COLOURS) if image is None else image, kind, exif=exif)


def damaged_exif():
    return turned(6).replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")


def declared(bits):
    """A 16-bit PNG file that says how many bits it uses."""
    data = saved(Image.fromarray(DEEP), "PNG")
    chunk = b"sBIT" + bytes([bits])
    return data[:33] + (1).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]


def deep_colours(highest):
    return cv2.imencode(".png", RNG.integers(0, highest, (20, 30, 3), dtype=np.uint16))[1].tobytes()


def white_is_zero():
    """A TIFF file of 16 bits whose tag 262 says that 0 is white."""
    data = saved(Image.fromarray(DEEP), "TIFF")
    return data.replace(struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0))


GRADES = np.linspace(0, 255, 30).astype(np.uint8)
READ = {
    "colours": saved(Image.fromarray(COLOURS), "PNG"),
    "grey": saved(Image.fromarray(COLOURS[..., 0]), "BMP"),
    "jpeg": saved(Image.fromarray(COLOURS), "JPEG"),
    "webp": saved(Image.fromarray(COLOURS), "WEBP"),
    "cmyk": saved(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
    "black and white": saved(Image.fromarray(COLOURS[..., 0] > 128), "PNG"),
    "palette": saved(Image.fromarray(COLOURS).quantize(20), "PNG"),
    "transparent palette": saved(Image.fromarray(COLOURS).quantize(20), "PNG", transparency=3),
    "half transparent": saved(with_alpha("RGBA", GRADES), "PNG"),
    "half transparent grey": saved(with_alpha("LA", GRADES), "PNG"),
    "empty alpha": saved(with_alpha("RGBA", 0), "PNG"),
    "opaque": saved(with_alpha("RGBA", 255), "TIFF"),
    **{f"turned {orientation}": turned(orientation) for orientation in range(1, 9)},
    **{
        f"turned {kind} {mode}": turned(6, with_alpha(mode, GRADES), kind)
        for kind, mode in (("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"))
    },
    "turned palette": turned(5, Image.fromarray(COLOURS).quantize(20), "PNG"),
    "turned 16 bits": turned(8, Image.fromarray(DEEP * 16), "PNG"),
    "damaged EXIF": damaged_exif(),
    "16 bits": saved(Image.fromarray(DEEP * 16), "PNG"),
    "12 of 16 bits": declared(12),
    "12 of 16 bits, wrongly": declared(10),
    "12 of 16 bits, TIFF": saved(Image.fromarray(DEEP), "TIFF", tiffinfo={281: 4095}),
    "16 bits, TIFF": saved(Image.fromarray(DEEP), "TIFF"),
    "16 bits of colours": deep_colours(65536),
}


@pytest.mark.parametrize("name", READ)
def test_photographs_are_read_as_by_the_package(name):
    expected = read_photograph(Path("x"), READ[name])
    found = detect.read_photograph(READ[name], "x")
    assert found.mode == expected.mode
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("name", ["16 bits, TIFF", "12 of 16 bits"])
def test_bits_may_be_given(name):
    expected = read_photograph(Path("x"), READ[name], bits=12)
    np.testing.assert_array_equal(np.asarray(detect.read_photograph(READ[name], "x", 12)), np.asarray(expected))
    with pytest.raises(InputError, match="values up to"):
        read_photograph(Path("x"), READ[name], bits=11)
    with pytest.raises(detect.InputError, match=r"x holds values up to 40\d\d"):
        detect.read_photograph(READ[name], "x", 11)


REFUSED = {
    "text": b"hello",
    "nothing": b"",
    "cut off": READ["colours"][:-300],
    "floating point": saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
    "0 is white": white_is_zero(),
    "an icon": saved(Image.fromarray(COLOURS), "GIF"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_photograph_is_refused(name):
    with pytest.raises(detect.InputError, match=r"^x "):
        detect.read_photograph(REFUSED[name], "x")


def test_colours_of_12_bits_are_refused_not_darkened():
    assert np.asarray(read_photograph(Path("x"), deep_colours(4096), bits=12)).max() > 250
    with pytest.raises(detect.InputError, match="expected grey or colour of 8"):
        detect.read_photograph(deep_colours(4096), "x", 12)


@pytest.mark.filterwarnings("ignore:.*decompression bomb")
def test_too_large_pictures_are_refused_unopened():
    with pytest.raises(detect.InputError, match="x has 40000 x 3000 pixels"):
        detect.read_photograph(saved(Image.new("L", (40_000, 3_000)), "PNG"), "x")


def test_a_long_thin_picture_is_refused():
    with pytest.raises(detect.InputError, match="expected sides of at most 65,500"):
        detect.read_photograph(saved(Image.new("L", (1, 70_000)), "PNG"), "x")


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(1, 400), st.integers(1, 400)), st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_resizing_is_that_of_the_package_to_the_last_bit(old, new):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*old, 3), dtype=np.uint8))
    found = detect.resized(image, new)
    np.testing.assert_array_equal(found, resized(image, new, "bilinear"))
