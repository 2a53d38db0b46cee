"""An image file becomes an upright 8-bit image, or an `InputError` that names the file."""

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

from discrepancy.errors import InputError

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

# Above this a file is refused unopened: an RGB image of this size takes 358 MB while it is decoded.
MAX_PIXELS: Final = 89_478_485

# Only these decoders are tried, whatever the suffix says (Pillow would also hand PostScript to an interpreter).
_FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_COMPLETE_IMAGE: Final = "a complete PNG, JPEG, BMP, TIFF or WebP file"

# What Pillow's decoders raise on damaged files.
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
    """What an image file says of itself: (width, height) as it is seen, px, and Pillow's name of its kind of pixels."""

    size: tuple[int, int]
    mode: str


def read_bytes(path: Path) -> bytes:
    """The bytes of an image file; an `InputError` where it cannot be opened."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): expected a readable image file.") from error


def read_header(path: Path, data: bytes) -> Header:
    """Size and kind of an image, read from its header alone.

    `data` holds the bytes of the file `path`. The size is that after the EXIF orientation.
    Raises `InputError` when the bytes are no image, or one of more than `MAX_PIXELS` pixels.
    """
    with _opened(path, io.BytesIO(data)) as image:
        # Pillow decodes a whole PNG to look for its orientation; almost none has one.
        plain = image.format == "PNG" and not _may_be_turned(data)
        turned = not plain and _orientation(image) >= 5
        return Header((image.height, image.width) if turned else image.size, image.mode)


def read_photograph(path: Path, data: bytes | None = None) -> Image.Image:
    """The photograph in `path`, upright, in mode `L` (grey) or `RGB`, 8 bits per channel.

    `data` holds the bytes of the file, where they have been read already.

    - 16-bit grey is divided by 257 and rounded: 65535 becomes 255, nothing is stretched. 16-bit colour keeps the
      high byte (Pillow decodes it no other way).
    - Transparent pixels are shown on white. An alpha channel that is 0 everywhere (some 32-bit BMP writers leave
      it empty) is ignored.
    - Palette, CMYK and YCbCr become RGB without colour management; 1 bit becomes 0 and 255.
    - Of a file with several pages or frames, the first is read.

    Raises `InputError` when the file is missing, damaged, truncated, not an image, of more than `MAX_PIXELS`
    pixels, or holds pixels without a defined white (32-bit integers, floating point) or in LAB.
    """
    with _opened(path, None if data is None else io.BytesIO(data)) as image:
        if image.mode in {"I", "F", "LAB", "HSV"}:
            raise InputError(
                f"{path} holds pixels of Pillow's mode {image.mode!r}: "
                "expected grey or colour of 1, 8 or 16 bits per channel, so that black and white are known."
            )
        image.load()
        return _turned(_eight_bit(image), _orientation(image))


def read_mask(path: Path) -> np.ndarray:
    """The mask in `path`, upright, as bool [h, w] of the file's own size: True where any value is above 0.

    Colours and palettes count as they are seen (any channel above 0), transparent pixels as 0.
    Raises `InputError` when the file is missing, damaged, truncated, not an image or of more than `MAX_PIXELS` pixels.
    """
    with _opened(path) as image:
        image.load()
        orientation = _orientation(image)
        if image.has_transparency_data:
            seen = np.asarray(_turned(image.convert("RGBA"), orientation))
            return (seen[..., :3].max(-1) > 0) & (seen[..., 3] > 0)
        grey = image.mode in {"1", "L", "I", "F"} or image.mode.startswith("I;16")
        values = np.asarray(_turned(image if grey else image.convert("RGB"), orientation))
        return (values if grey else values.max(-1)) > 0


@contextmanager
def own_limit() -> Iterator[None]:
    """Silences Pillow's warning of large images: the limit here is an error. Not for use by threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path, source: io.BytesIO | None = None) -> Iterator[ImageFile.ImageFile]:
    """Opens an image; whatever Pillow raises inside the block leaves it as an `InputError` that names `path`."""
    try:
        with Image.open(source or path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(_too_large(path, f"{image.width} x {image.height}"))
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


def _too_large(path: Path, found: str) -> str:
    return f"{path} has {found} pixels: expected at most {MAX_PIXELS:,}, larger files are refused unopened."


def _may_be_turned(data: bytes) -> bool:
    """Whether a chunk of a PNG file may hold an orientation; the pixels' chunks are passed over unread."""
    place = 8
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if name == b"eXIf" or (name in _PNG_TEXTS and data.startswith(_PNG_ORIENTATION, place + 8)):
            return True
        place += 12 + length
    return False


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation, 1 (upright) to 8. A damaged EXIF block counts as none: the pixels are sound."""
    if image.format == "TIFF":  # Pillow turns TIFF files itself, and gives their turned size
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels * 255 + 32895) >> 16).astype(np.uint8))  # round(level / 257), exactly
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
