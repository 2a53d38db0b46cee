"""Pictures that say something else of themselves than what they hold."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def picture(seed, size=(40, 48)):
    """A photograph of noise, RGB, width 48 and height 40 px."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width=48, height=40, depth=8, colour=2, interlaced=0, pixels=None, more=b"", end=True):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = zlib.compress(bytes(40 * (3 * 48 + 1))) if pixels is None else pixels
    parts = [_chunk(b"IHDR", header), more, _chunk(b"IDAT", body), _chunk(b"IEND", b"") if end else b""]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _wrong_checksum(data):
    return data[:29] + bytes(4) + data[33:]


def _jpeg_of(height, width):
    def change(_data):
        content = io.BytesIO()
        picture(1).save(content, "JPEG")
        data = content.getvalue()
        place = data.index(b"\xff\xc0") + 5
        return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]

    return change


def _tiff(entries, data=bytes(48 * 40)):
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, *rest) for tag, *rest in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + table + struct.pack("<I", 8 + len(data))


_GREY = {256: (1, 48), 257: (1, 40), 258: (1, 8), 259: (1, 1), 262: (1, 1), 273: (1, 8), 277: (1, 1), 278: (1, 40)}


def _grey_tiff(**changes):
    entries = _GREY | {279: (1, 48 * 40)} | {int(tag[1:]): value for tag, value in changes.items()}
    return lambda _data: _tiff([(tag, *entries[tag]) for tag in sorted(entries)])


def _bmp(width, height, bits=24, offset=54):
    return lambda _data: (
        struct.pack("<2sIHHI", b"BM", 54 + 5760, 0, 0, offset)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 5760, 0, 0, 0, 0)
        + bytes(5760)
    )


PNG = {
    "a PNG of a thousand million pixels": lambda data: _png(1_000_000_000, 1),
    "a PNG of the largest size": lambda data: _png(2**31 - 1, 2**31 - 1),
    "a PNG of no width": lambda data: _png(0, 40),
    "a PNG of negative height": lambda data: _png(48, 2**32 - 40),
    "a PNG of 3 bits": lambda data: _png(depth=3),
    "a PNG of an unknown kind of colour": lambda data: _png(colour=5),
    "a PNG with an unknown interlacing": lambda data: _png(interlaced=7),
    "a PNG higher than its pixels": lambda data: _png(height=400),
    "a PNG lower than its pixels": lambda data: _png(height=4),
    "a PNG without pixels": lambda data: _png(pixels=b""),
    "a PNG of pixels that are not packed": lambda data: _png(pixels=b"no zlib"),
    "a PNG without an end": lambda data: _png(end=False),
    "a PNG with a palette out of reach": lambda data: _png(colour=3, more=_chunk(b"PLTE", b"\0\0\0")),
    "a PNG without its palette": lambda data: _png(colour=3),
    "a PNG with a text that unpacks to 100 MB": lambda data: _png(
        more=_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(100_000_000), 1))
    ),
    "a PNG with a damaged EXIF block": lambda data: _png(more=_chunk(b"eXIf", b"MM\0*\0\0\0\xff")),
    "a PNG whose chunk is longer than the file": lambda data: _png(more=struct.pack(">I4s", 2**31 - 1, b"tEXt")),
    "a PNG with a wrong checksum": _wrong_checksum,
}
JPEG = {
    "a JPEG of the largest size": _jpeg_of(65535, 65535),
    "a JPEG of no height": _jpeg_of(0, 48),
    "a JPEG higher than its pixels": _jpeg_of(400, 48),
    "a JPEG without tables": lambda data: data[:2] + data[data.index(b"\xff\xc0") :],
    "a JPEG without pixels": lambda data: data[: data.index(b"\xff\xda")] + b"\xff\xd9",
    "a JPEG with an EXIF block that ends early": lambda data: (
        data[:2] + b"\xff\xe1\x00\x12Exif\0\0MM\0*\0\0\0\x08\0\xff" + data[2:]
    ),
}
TIFF = {
    "a sound TIFF made by hand": _grey_tiff(),
    "a TIFF of 2^32 pixels": _grey_tiff(_256=(1, 65536), _257=(1, 65536)),
    "a TIFF of no width": _grey_tiff(_256=(1, 0)),
    "a TIFF with a strip beyond its end": _grey_tiff(_273=(1, 2**31)),
    "a TIFF with a strip that is too short": _grey_tiff(_279=(1, 5)),
    "a TIFF of 77 bits": _grey_tiff(_258=(1, 77)),
    "a TIFF of unknown compression": _grey_tiff(_259=(1, 999)),
    "a TIFF of 2^31 strips": _grey_tiff(_273=(2**31, 8)),
    "a TIFF without a size": lambda data: _tiff([(258, 1, 8)]),
    "a TIFF without entries": lambda data: _tiff([]),
    "a TIFF whose table is beyond its end": lambda data: struct.pack("<2sHI", b"II", 42, 2**31),
    "a TIFF whose table is its header": lambda data: struct.pack("<2sHI", b"II", 42, 0) + bytes(100),
}
BMP = {
    "a BMP of the largest size": _bmp(2**31 - 1, 2**31 - 1),
    "a BMP of negative width": _bmp(-48, 40),
    "a BMP from top to bottom": _bmp(48, -40),
    "a BMP higher than its pixels": _bmp(48, 400),
    "a BMP of 7 bits": _bmp(48, 40, bits=7),
    "a BMP whose pixels are beyond its end": _bmp(48, 40, offset=2**31),
}
