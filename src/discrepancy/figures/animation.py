"""The test images of a part as an animated GIF: photograph, anomaly map and decision, one image after the other."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from discrepancy.figures import style
from discrepancy.figures.cases import verdict
from discrepancy.figures.fonts import font_of
from discrepancy.figures.jpeg import within
from discrepancy.figures.overlays import Picture, map_scale, outline, score_picture

MOST: Final = 2_000_000
"""Bytes of a file, at most."""
FRAMES: Final = 40
"""Images shown, at most: of more, an even selection."""
SECONDS: Final = 0.8
"""Time that each image is shown."""

_SIDES: Final = (320, 128)  # longest side of a picture, px: at first, and at least
_COLOURS: Final = (128, 32)  # of a frame: at first, and at least
_MARGIN: Final = 6
_GAP: Final = 4
_LINE: Final = 20
_WIDTH: Final = 300  # of a frame, at least, so that its words have room
_POINTS: Final = style.SMALL


class _Size(NamedTuple):
    """Longest side of a picture, px; number of colours and of frames."""

    side: int
    colours: int
    frames: int


def animation(
    images: NDArray[np.uint8],
    maps: NDArray[np.floating],
    samples: pd.DataFrame,
    found: Sequence[NDArray[np.bool_]],
    *,
    level: float,
    image_threshold: float,
    title: str,
    most: int = MOST,
) -> bytes:
    """Draw test images one after the other: photograph with the detected outline, anomaly map, decision.

    The file is made to fit by smaller pictures, then by fewer colours, then by fewer images.

    Args:
        images: test images, uint8 [N, 3, H, W], N > 0; may be memory-mapped.
        maps: raw anomaly maps, float [N, H, W], higher = more anomalous.
        samples: one row per image: `image` (path), `label` (0 good, 1 anomalous), `defect` (kind), `score`.
        found: pixels to be outlined, for each image bool [H, W].
        level: anomaly at which outlines are drawn, for the colour scale.
        image_threshold: images above it are called anomalous.
        title: stands above each image.
        most: bytes of the file; a single small frame may take more.

    Returns:
        The GIF file. It shows at most 40 images, evenly chosen in their order, and starts again at its end.
    """
    scale = map_scale(maps, threshold=level)

    def frame(i: int, side: int) -> Image.Image:
        views = [outline(np.asarray(images[i]), found[i], thickness=2), score_picture(maps[i], scale=scale)]
        return _frame([within(view, side) for view in views], _words(samples.iloc[i], image_threshold), title)

    size = _Size(_SIDES[0], _COLOURS[0], min(len(maps), FRAMES))
    while True:
        chosen = np.linspace(0, len(maps) - 1, size.frames).round().astype(int)
        content = _encoded([frame(int(i), size.side) for i in chosen], size.colours)
        if len(content) <= most or (smaller := _smaller(size, most / len(content))) == size:
            return content
        size = smaller


def _smaller(size: _Size, share: float) -> _Size:
    """Return the next size to try, for a file that should have this share of its bytes."""
    if size.side > _SIDES[1]:
        return size._replace(side=max(_SIDES[1], int(size.side * min(0.95, math.sqrt(share)))))
    if size.colours > _COLOURS[1]:
        return size._replace(colours=size.colours // 2)
    return size._replace(frames=max(1, min(size.frames - 1, int(size.frames * share))))


def _words(line: pd.Series, threshold: float) -> tuple[str, str, str]:
    """Return the decision, its colour, and the image's name with its kind of defect."""
    label, score = int(line["label"]), float(line["score"])
    found = score > threshold
    colour = style.RIGHT if found == bool(label) else style.WRONG
    kind = f" · {line['defect']}" if label else ""
    return f"{verdict(label, found)}, score {style.number(score)}", colour, f"{PurePosixPath(line['image']).name}{kind}"


def _frame(views: list[Picture], words: tuple[str, str, str], title: str) -> Image.Image:
    """Return the pictures side by side, between their title and the decision."""
    height, width = views[0].shape[:2]
    whole = max(_WIDTH, 2 * width + _GAP + 2 * _MARGIN)
    left = (whole - 2 * width - _GAP) // 2
    canvas = Image.new("RGB", (whole, height + 3 * _LINE + 2 * _MARGIN), "white")
    for column, view in enumerate(views):
        canvas.paste(Image.fromarray(view), (left + column * (width + _GAP), _LINE + _MARGIN))
    below = _LINE + _MARGIN + height
    decision, colour, name = words
    _write(canvas, 3, title, style.INK, bold=True)
    _write(canvas, below + 4, decision, colour, bold=True)
    _write(canvas, below + 4 + _LINE, name, style.QUIET)
    return canvas


def _write(canvas: Image.Image, top: int, words: str, colour: str, *, bold: bool = False) -> None:
    """Write one line, shortened to the width of the canvas, each character in the first font that has it."""
    draw = ImageDraw.Draw(canvas)
    x: float = _MARGIN
    fitted = style.fit(words, canvas.width - 2 * _MARGIN, _POINTS, bold=bold)
    for file, characters in groupby(fitted, key=lambda character: font_of(character, bold=bold).fname):
        font, text = _font(file), "".join(characters)
        draw.text((x, top + _POINTS * style.DPI / 72), text, fill=colour, font=font, anchor="ls")
        x += font.getlength(text)


def _font(file: str) -> Any:
    return ImageFont.truetype(file, round(_POINTS * style.DPI / 72))


def _encoded(frames: list[Image.Image], colours: int) -> bytes:
    # Without dithering equal areas stay equal, which compresses better.
    first, *others = [
        frame.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for frame in frames
    ]
    buffer = io.BytesIO()
    first.save(
        buffer, "GIF", save_all=True, append_images=others, duration=round(1000 * SECONDS), loop=0, optimize=False
    )
    return buffer.getvalue()
