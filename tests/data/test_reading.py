"""Every kind of file becomes an upright 8-bit image, or an error that names it."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from discrepancy.data.reading import MAX_PIXELS, read_header, read_mask, read_photograph
from discrepancy.errors import InputError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), dtype=np.uint8)

# How the stored pixels are turned to be seen upright, by the EXIF standard's definition of each orientation.
SEEN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def rgb(path: Path) -> np.ndarray:
    return np.asarray(read_photograph(path).convert("RGB"))


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


def test_grey_and_colour_are_kept(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    Image.fromarray(ALPHA).save(tmp_path / "grey.png")
    assert read_photograph(tmp_path / "grey.png").mode == "L"
    np.testing.assert_array_equal(rgb(tmp_path / "colour.png"), COLOUR)
    np.testing.assert_array_equal(rgb(tmp_path / "grey.png"), np.repeat(ALPHA[..., None], 3, -1))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_scaled_by_257_and_rounded(tmp_path, name):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(levels).save(tmp_path / name)
    expected = np.round(levels / 257).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(read_photograph(tmp_path / name)), expected)


def test_big_endian_16_bit_grey(tmp_path):
    levels = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    big_endian = Image.frombytes("I;16B", (7, 5), levels.astype(">u2").tobytes())
    big_endian.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(read_photograph(tmp_path / "a.tif")), np.round(levels / 257))


def test_16_bit_colour_keeps_the_high_byte(tmp_path):
    levels = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), levels[..., ::-1])
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), levels >> 8)


def test_palette(tmp_path):
    image = Image.fromarray(COLOUR).quantize(8)
    image.save(tmp_path / "a.png")
    colours = np.array(image.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), colours[np.asarray(image)])


@pytest.mark.parametrize("transparency", [2, bytes([0, 128, 255, 60])], ids=["index", "table"])
def test_palette_with_transparency_is_shown_on_white(tmp_path, transparency):
    image = Image.fromarray(COLOUR).quantize(8)
    image.save(tmp_path / "a.png", transparency=transparency)
    index = np.asarray(image)
    alphas = np.full(256, 255)
    if isinstance(transparency, int):
        alphas[transparency] = 0
    else:
        alphas[: len(transparency)] = list(transparency)
    colours = np.array(image.getpalette()).reshape(-1, 3)
    np.testing.assert_allclose(rgb(tmp_path / "a.png"), over_white(colours[index], alphas[index]), atol=1)


@pytest.mark.parametrize("channels", [2, 4], ids=["LA", "RGBA"])
def test_alpha_is_shown_on_white(tmp_path, channels):
    pixels = np.dstack([COLOUR[..., : channels - 1], ALPHA])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = np.broadcast_to(over_white(pixels[..., :-1], ALPHA), COLOUR.shape)
    np.testing.assert_allclose(rgb(tmp_path / "a.png"), expected, atol=1)


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_is_shown_on_white(tmp_path, mode, colour):
    image = Image.new(mode, (7, 5), colour)
    image.putpixel((0, 0), 91 if mode == "L" else (9, 9, 9))
    image.save(tmp_path / "a.png", transparency=colour)
    expected = np.full_like(COLOUR, 255)
    expected[0, 0] = 91 if mode == "L" else 9
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("alpha", [0, 255])
def test_an_alpha_channel_without_information_changes_nothing(tmp_path, alpha):
    Image.fromarray(np.dstack([COLOUR, np.full_like(ALPHA, alpha)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), COLOUR)


def test_cmyk(tmp_path):
    ink = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "a.tif")
    light = 255 - ink.astype(float)
    np.testing.assert_allclose(rgb(tmp_path / "a.tif"), light[..., :3] * light[..., 3:] / 255, atol=1)


def test_one_bit_becomes_black_and_white(tmp_path):
    bits = ALPHA > 127
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_photograph(tmp_path / "a.png")), np.where(bits, 255, 0))


def test_the_first_page_is_read(tmp_path):
    pages = [Image.new("L", (7, 5), 10), Image.new("L", (7, 5), 20)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert np.unique(read_photograph(tmp_path / "a.tif")) == [10]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_white_are_refused(tmp_path, dtype):
    Image.fromarray(ALPHA.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif holds pixels of Pillow's mode '[IF]'.*1, 8 or 16 bits"):
        read_photograph(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})])
def test_exif_orientation(tmp_path, name, options, orientation):
    path = tmp_path / name
    Image.fromarray(COLOUR).save(path, exif=oriented(orientation), **options)
    expected = SEEN[orientation](COLOUR)
    np.testing.assert_array_equal(rgb(path), expected)
    np.testing.assert_array_equal(read_mask(path), expected.any(-1))
    assert read_header(path, path.read_bytes()).size == expected.shape[1::-1]


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_of_jpeg_and_16_bit(tmp_path, orientation):
    grey = np.kron(RNG.integers(0, 256, (2, 3), dtype=np.uint8), np.ones((16, 16), np.uint8))
    Image.fromarray(grey).save(tmp_path / "a.jpg", exif=oriented(orientation), quality=100)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png", exif=oriented(orientation))
    for name in ("a.jpg", "a.png"):
        np.testing.assert_allclose(read_photograph(tmp_path / name), SEEN[orientation](grey), atol=3)
        assert read_header(tmp_path / name, (tmp_path / name).read_bytes()).size == SEEN[orientation](grey).shape[::-1]


@pytest.mark.parametrize("kind", ["exif after the pixels", "raw profile", "xmp", "xmp after the pixels"])
def test_orientation_hidden_elsewhere_in_a_png(tmp_path, kind):
    exif = oriented(6).tobytes()
    info = PngImagePlugin.PngInfo()
    if kind == "raw profile":
        info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    elif kind == "xmp":
        info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "PNG", pnginfo=info)
    data = buffer.getvalue()
    late = {
        "exif after the pixels": png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")),
        "xmp after the pixels": png_chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    }.get(kind, b"")
    (tmp_path / "a.png").write_bytes(data[:-12] + late + data[-12:])
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), SEEN[6](COLOUR))
    assert read_header(tmp_path / "a.png", (tmp_path / "a.png").read_bytes()).size == (5, 7)


def test_damaged_exif_counts_as_none(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=b"Exif\0\0no exif at all")
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), COLOUR)
    assert read_header(tmp_path / "a.png", (tmp_path / "a.png").read_bytes()).size == (7, 5)


@pytest.mark.parametrize("read", [read_photograph, read_mask])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_truncated_file_is_named(tmp_path, suffix, read):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\.{suffix} .*expected a complete PNG, JPEG"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"plain text", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a" + bytes(20)])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (read_photograph, read_mask, lambda file: read_header(file, content).size):
        with pytest.raises(InputError, match=r"a\.png is not an image that can be read: expected a complete PNG"):
            read(path)


def test_a_format_that_is_not_offered_is_refused_under_any_suffix(tmp_path):
    Image.fromarray(ALPHA).save(tmp_path / "a.png", format="GIF")
    with pytest.raises(InputError, match=r"a\.png is not an image that can be read"):
        read_photograph(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"none\.png cannot be opened \(No such file"):
        read_photograph(tmp_path / "none.png")
    with pytest.raises(InputError, match=r"folder\.png cannot be opened \(Is a directory"):
        read_photograph(tmp_path / "folder.png")


def test_a_file_with_a_broken_checksum_is_named(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[20] ^= 1  # in the header, whose checksum no longer fits
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png"):
        read_photograph(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9500, 40000])
def test_decompression_bombs_are_refused(tmp_path, side):
    assert side * side > MAX_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    for read in (read_photograph, read_mask, lambda file: read_header(file, file.read_bytes()).size):
        with pytest.raises(InputError, match=r"bomb\.png has .* pixels: expected at most 89,478,485"):
            read(path)


def test_the_limit_itself_is_allowed(tmp_path):
    data = png_header(9000, 9000)
    assert read_header(tmp_path / "a.png", data).size == (9000, 9000)
