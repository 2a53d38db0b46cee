"""Photographs of more than 8 bits per channel: the declarations in their files, and their unscaled values.

Cameras of 10, 12 or 14 bits store values packed, unchanged in 16 bits, or shifted up to fill these. Packed files
declare it; PNG (sBIT) and TIFF (MaxSampleValue) may declare it for the others; most do not.
"""

from __future__ import annotations

import io
import os
import struct
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TIFF: Final = (b"II\x2a\0", b"MM\0\x2a")
_BIG_TIFF: Final = (b"II\x2b\0", b"MM\0\x2b")
HEAD: Final = 33
"""Bytes that decide the mode of a PNG file, and identify TIFF files."""

# TIFF's numbers of the tags that are read here.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_HIGHEST, _PLANAR, _FORMAT = 281, 284, 339
_PIECES: Final = ((273, 279), (324, 325))  # offsets and lengths of strips, or of tiles
_WHITE_IS_ZERO, _GREY_OR_RGB = 0, (0, 1, 2)


class DeepImage(NamedTuple):
    """Declarations in a PNG or TIFF file of more than 8 bits per channel.

    Attributes:
        width: px, as stored.
        height: px, as stored.
        channels: 1 to 4.
        stored: bits of a channel, 9 to 16.
        said: number of bits that the values use as the file declares; `stored` without a declaration.
        inverted: 0 is white.
        orientation: of a TIFF file, as EXIF counts, 1 to 8; a PNG file's is found elsewhere.
        whole: every piece that the file lists lies within it.
    """

    width: int
    height: int
    channels: int
    stored: int
    said: int
    inverted: bool = False
    orientation: int = 1
    whole: bool = True

    @property
    def odd(self) -> bool:
        """True if Pillow does not read the file, or misreads it: packed values, or 0 for white."""
        return self.stored < 16 or self.inverted

    @property
    def mode(self) -> str:
        """Its mode, in the style of Pillow: `I;12`, `RGB;10`, `I;16` also if 0 is white."""
        return f"{'I' if self.channels == 1 else 'RGB'};{self.stored}"


def may_be_deep(head: bytes) -> bool:
    """Return whether a file that begins with these `HEAD` bytes may have more than 8 bits per channel."""
    return head[:4] in _TIFF + _BIG_TIFF or (head.startswith(_PNG) and head[24:25] == b"\x10")


def read_deep(data: bytes) -> DeepImage | None:
    """Read the declarations from a file's bytes; None for at most 8 bits per channel, or another format."""
    if not may_be_deep(data[:HEAD]):
        return None
    return _declared(io.BytesIO(data), len(data))


def read_deep_file(path: Path) -> DeepImage | None:
    """Read the declarations of a file from the few bytes that hold them; see `read_deep`.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not may_be_deep(file.read(HEAD)):
            return None
        return _declared(file, os.fstat(file.fileno()).st_size)


def _declared(file: BinaryIO, length: int) -> DeepImage | None:
    file.seek(0)
    try:
        head = file.read(HEAD)
        return _png(head, file) if head.startswith(_PNG) else _tiff(head, file, length)
    except Exception:  # of a damaged file, which the decoder names
        return None


def deep_values(data: bytes, deep: DeepImage) -> NDArray[np.uint16] | None:
    """Return the values of a deep file unscaled, uint16 [h, w] or [h, w, 3 or 4] in RGB(A), not turned.

    0 is black, as in every other file. If the file has 0 for white, they are inverted later, within the
    bits in use (see `to_bytes`). None if the file cannot be decoded.
    """
    if not deep.whole:
        return None
    buffer = np.frombuffer(_unturned(data), np.uint8)
    try:
        values: Any = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if values is None or values.dtype != np.uint16 or values.shape[:2] != (deep.height, deep.width):
        return None
    if values.ndim == 3:
        values = cv2.cvtColor(values, cv2.COLOR_BGRA2RGBA if values.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    moved: NDArray[np.uint16] = values >> np.uint16(16 - deep.stored)
    return moved  # OpenCV moves packed values up to fill 16 bits


def to_bytes(values: NDArray[np.uint16], bits: int, *, inverted: bool = False) -> NDArray[np.uint8]:
    """Scale values of so many bits to 0..255, rounded: uint8 of the same shape. None may exceed 2^bits - 1."""
    levels = _levels(bits)[values]
    return np.asarray(255 - levels if inverted else levels, np.uint8)


@cache
def _levels(bits: int) -> NDArray[np.uint8]:
    highest = 2**bits - 1
    return ((np.arange(highest + 1) * 255 + highest // 2) // highest).astype(np.uint8)


def _png(head: bytes, file: BinaryIO) -> DeepImage:
    width, height, _, kind = struct.unpack_from(">IIBB", head, 16)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    said = 16
    while len(chunk := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", chunk)
        if name == b"sBIT":
            said = max(file.read(1 if channels < 3 else 3))
        if name in {b"sBIT", b"IDAT", b"IEND"}:
            break
        file.seek(length + 4, os.SEEK_CUR)
    return DeepImage(width, height, channels, 16, said if 8 <= said < 16 else 16)


def _tiff(head: bytes, file: BinaryIO, length: int) -> DeepImage | None:
    big = head[:4] in _BIG_TIFF
    tags = ImageFileDirectory_v2(head[: 16 if big else 8])
    file.seek(tags.next)
    tags.load(file)
    bits, channels = set(tags.get(_BITS, (1,))), int(tags.get(_SAMPLES, 1))
    stored = max(bits)
    unsigned = set(tags.get(_FORMAT, (1,))) == {1}
    together = channels == 1 or tags.get(_PLANAR, 1) == 1
    if len(bits) > 1 or not 8 < stored <= 16 or not unsigned or not together or channels > 4:
        return None
    photometric = tags.get(_PHOTOMETRIC, 1)
    orientation = int(tags.get(_ORIENTATION, 1))
    if photometric not in _GREY_OR_RGB or (big and orientation != 1):
        return None
    said = {2**count - 1: count for count in range(8, stored)}.get(_highest(tags), stored)
    inverted = photometric == _WHITE_IS_ZERO
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    whole = _whole(tags, length, height * -(-width * channels * stored // 8))
    return DeepImage(width, height, channels, stored, said, inverted, orientation, whole)


def _highest(tags: Any) -> int:
    value = tags.get(_HIGHEST, 0)
    return int(max(value) if isinstance(value, tuple) else value)


def _whole(tags: Any, length: int, needed: int) -> bool:
    """Return whether the picture's pieces lie within the file; uncompressed ones must hold all values, too."""
    for offsets, lengths in _PIECES:
        if offsets in tags and lengths in tags:
            pieces = list(zip(tags[offsets], tags[lengths], strict=True))
            inside = all(offset + count <= length for offset, count in pieces)
            return inside and (tags.get(_COMPRESSION, 1) != 1 or sum(count for _, count in pieces) >= needed)
    return False


def _unturned(data: bytes) -> bytes:
    """Return a TIFF file with its orientation set to 1: OpenCV turns some of these itself and fails on others."""
    if data[:4] not in _TIFF:
        return data
    order = "<" if data.startswith(b"II") else ">"
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag == _ORIENTATION:
            upright = struct.pack(f"{order}{'I' if kind == 4 else 'Hxx'}", 1)
            return data[: entry + 8] + upright + data[entry + 12 :]
    return data
