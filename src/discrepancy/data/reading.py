"""Image files read as upright 8-bit images; every failure is an `InputError` that names the file."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The plugins are imported here so that decoding threads do not race to import them.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from discrepancy.data.high_bit_depth import DeepImage, deep_values, read_deep, to_bytes
from discrepancy.errors import InputError

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

# Above this a file is refused unopened: an RGB image of this size takes 358 MB while it is decoded.
MAX_PIXELS: Final = 89_478_485

# Only these decoders are tried, whatever the suffix says (Pillow would also hand PostScript to an interpreter).
_FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_COMPLETE_IMAGE: Final = "a complete PNG, JPEG, BMP, TIFF or WebP file"

# Errors that Pillow's decoders raise on damaged files.
_DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
    AssertionError,  # of a palette that is not there
)

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PNG_ORIENTATION: Final = (b"Raw profile type", b"XML:com.adobe.xmp")


class Header(NamedTuple):
    """Size (width, height) of an image as it is seen, px, and Pillow's name of its mode."""

    size: tuple[int, int]
    mode: str


def read_bytes(path: Path) -> bytes:
    """Read the bytes of an image file.

    Raises `InputError` if it cannot be opened.
    """
    _check_kind(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): expected a readable image file.") from error


def _check_kind(path: Path) -> None:
    """Refuse a pipe: reading it would block for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is no plain file: expected a readable image file.")


def read_header(path: Path, data: bytes) -> Header:
    """Read size and mode of an image from its header alone.

    `data` holds the bytes of the file `path`. The size is that after the EXIF orientation. Raises `InputError` if the
    bytes are no image, or one of more than `MAX_PIXELS` pixels.
    """
    deep = read_deep(data)
    if deep is not None and deep.odd:
        _check_pixels(path, deep.width, deep.height)
        size = (deep.width, deep.height)
        return Header(size[::-1] if deep.orientation >= 5 else size, deep.mode)
    with _opened(path, io.BytesIO(data)) as image:
        # Pillow decodes a whole PNG to look for its orientation; almost none has one.
        plain = image.format == "PNG" and not _may_be_turned(data)
        turned = not plain and _orientation(image) >= 5
        return Header((image.height, image.width) if turned else image.size, image.mode)


def read_photograph(path: Path, data: bytes | None = None, *, bits: int | None = None) -> Image.Image:
    """Read the photograph in `path`, upright, in mode `L` (grey) or `RGB`, 8 bits per channel.

    `data` holds the bytes of the file, if they have been read already.

    - Of a channel's 16 bits `bits` are used: black is 0, white 2^bits - 1, rounded to 8 bits; nothing is stretched by
      what is in the picture. By default it is as many as the file declares (PNG's sBIT, TIFF's MaxSampleValue)
      if its values are no higher, else 16. (Of 16-bit colour that uses all 16, the high byte is kept.)
    - Packed 10-, 12- and 14-bit TIFF files have white at the highest value of that many bits.
    - Transparent pixels are shown on white. An alpha channel that is 0 everywhere (some 32-bit BMP writers leave
      it empty) is ignored.
    - Palette, CMYK and YCbCr become RGB without colour management; 1 bit becomes 0 and 255. Where a TIFF file has white
      for 0, it is seen so.
    - Of a file with several pages or frames, the first is read.

    Raises:
        InputError: the file is missing, damaged, truncated, not an image, or of more than `MAX_PIXELS` pixels. Or
            values use more than `bits` bits, or pixels have no defined white (32-bit integers, floating point) or are
            in LAB.
    """
    data = read_bytes(path) if data is None else data
    deep = read_deep(data)
    if deep is not None and deep.odd:
        _check_pixels(path, deep.width, deep.height)
        return _turned(_scaled(path, _values(path, data, deep), deep, bits), deep.orientation)
    with _opened(path, io.BytesIO(data)) as image:
        if image.mode in {"I", "F", "LAB", "HSV"}:
            raise InputError(
                f"{path} holds pixels of Pillow's mode {image.mode!r}: "
                "expected grey or colour of 1, 8 or 16 bits per channel, so that black and white are known."
            )
        image.load()  # finds damages that OpenCV would pass over
        if deep is None or (bits or deep.said) == 16:
            return _turned(_eight_bit(image), _orientation(image))
        if image.mode.startswith("I;16"):
            values = np.asarray(image).astype(np.uint16)
            return _turned(_scaled(path, values, deep, bits), _orientation(image))
        return _turned(_scaled(path, _values(path, data, deep), deep, bits), _stored_orientation(image, deep))


def highest_value(path: Path) -> int:
    """Return the highest unscaled value of a 16-bit photograph; of colour, its high byte's.

    (The low byte counts as 255 then.) Raises `InputError` as `read_photograph` does.
    """
    data = read_bytes(path)
    deep = read_deep(data)
    if deep is not None and deep.odd:
        return int(_values(path, data, deep)[..., :3].max(initial=0))
    with _opened(path, io.BytesIO(data)) as image:
        image.load()
        if image.mode.startswith("I;16"):
            return int(np.asarray(image).max(initial=0))
        return 256 * int(np.asarray(image.convert("RGB")).max(initial=0)) + 255


def read_mask(path: Path) -> np.ndarray:
    """Read the mask in `path`, upright, as bool [h, w] of the file's own size: True where any value is above 0.

    Colours and palettes count as they are seen (any channel above 0), transparent pixels as 0. Raises `InputError` if
    the file is missing, damaged, truncated, not an image or of more than `MAX_PIXELS` pixels.
    """
    data = read_bytes(path)
    deep = read_deep(data)
    if deep is not None and deep.odd:
        _check_pixels(path, deep.width, deep.height)
        values = _values(path, data, deep)
        black = 2**deep.stored - 1 if deep.inverted else 0
        marked = (values if values.ndim == 2 else values[..., :3].max(-1)) != black
        return np.asarray(_turned(Image.fromarray(marked), deep.orientation))
    with _opened(path, io.BytesIO(data)) as image:
        image.load()
        if deep is not None and deep.channels >= 3:  # Pillow keeps the high byte only, which may be 0
            values = _values(path, data, deep)
            marked = values[..., :3].max(-1) > 0
            marked = marked & (values[..., 3] > 0) if values.shape[2] == 4 else marked
            return np.asarray(_turned(Image.fromarray(marked), _stored_orientation(image, deep)))
        orientation = _orientation(image)
        if image.has_transparency_data:
            seen = np.asarray(_turned(image.convert("RGBA"), orientation))
            return (seen[..., :3].max(-1) > 0) & (seen[..., 3] > 0)
        grey = image.mode in {"1", "L", "I", "F"} or image.mode.startswith("I;16")
        values = np.asarray(_turned(image if grey else image.convert("RGB"), orientation))
        return (values if grey else values.max(-1)) > 0


@contextmanager
def pillow_limit_disabled() -> Iterator[None]:
    """Silence Pillow's warning of large images: the limit here is an error. Not for use by threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path, source: io.BytesIO | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open an image; any error of Pillow inside the block becomes an `InputError` that names `path`."""
    if source is None:
        _check_kind(path)
    try:
        with Image.open(source or path, formats=_FORMATS) as image:
            _check_pixels(path, image.width, image.height)
            yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path, "too many")) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image that can be read: expected {_COMPLETE_IMAGE}.") from error
    except OSError as error:
        # Errors of the file system carry a number, those of Pillow's decoders do not.
        reason = f"cannot be opened ({error.strerror})" if error.errno else f"cannot be decoded ({error})"
        raise InputError(f"{path} {reason}: expected {_COMPLETE_IMAGE}.") from error
    except _DECODER_ERRORS as error:
        raise InputError(f"{path} cannot be decoded ({error}): expected {_COMPLETE_IMAGE}.") from error


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(path, f"{width} x {height}"))


def _too_large(path: Path, found: str) -> str:
    return f"{path} has {found} pixels: expected at most {MAX_PIXELS:,}, larger files are refused unopened."


def _may_be_turned(data: bytes) -> bool:
    """Return whether a chunk of a PNG file may hold an orientation; chunks of pixels are skipped unread."""
    place = 8
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if name == b"eXIf" or (name in _PNG_TEXTS and data.startswith(_PNG_ORIENTATION, place + 8)):
            return True
        place += 12 + length
    return False


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1 (upright) to 8. A damaged EXIF block counts as none: the pixels are sound."""
    if image.format == "TIFF":  # Pillow turns TIFF files itself, and gives their turned size
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _stored_orientation(image: ImageFile.ImageFile, deep: DeepImage) -> int:
    """Return the EXIF orientation of values that are read as they are stored: a TIFF file's are not turned then."""
    return deep.orientation if image.format == "TIFF" else _orientation(image)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _values(path: Path, data: bytes, deep: DeepImage) -> NDArray[np.uint16]:
    values = deep_values(data, deep)
    if values is None:
        raise InputError(f"{path} cannot be decoded (damaged or cut off): expected {_COMPLETE_IMAGE}.")
    return values


def _scaled(path: Path, values: NDArray[np.uint16], deep: DeepImage, bits: int | None) -> Image.Image:
    """Return values [h, w] or [h, w, 3 or 4] of a deep file as an 8-bit picture, not turned."""
    colours = values[..., :3] if values.ndim == 3 else values
    highest = int(colours.max(initial=0))
    used = deep.stored if deep.stored < 16 else bits or deep.said
    if highest >= 2**used:
        if bits is not None:
            raise InputError(
                f"{path} holds values up to {highest}: expected at most {2**used - 1}, those of {used} bits, which the "
                "photographs of this part are taken for. The parameter bit_depth sets how many bits they all use."
            )
        used = deep.stored  # PNG shifts the significant bits up to fill all bits
    picture = to_bytes(colours, used, inverted=deep.inverted)
    if values.ndim == 2 or values.shape[2] == 3:
        return Image.fromarray(picture)
    alpha = values[..., 3:]
    opaque = to_bytes(alpha, used if int(alpha.max(initial=0)) < 2**used else 16)
    return _over_white(Image.fromarray(np.concatenate([picture, opaque], axis=-1)))


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(to_bytes(np.asarray(image).astype(np.uint16), 16))
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    if image.mode in {"L", "RGB"}:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _over_white(image: Image.Image) -> Image.Image:
    lowest, highest = image.getchannel("A").getextrema()
    if lowest == 255 or highest == 0:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
