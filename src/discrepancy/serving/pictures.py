"""Pictures in answers: the outline over the photograph, and the anomaly map in colours."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

from discrepancy.export.detect import Result

COLOURS: Final = ((0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
"""From dark to bright: six colours of matplotlib's magma, at equal distances."""
LONGEST: Final = 1600
"""Longest side of a picture on the page, px."""


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file; quick rather than small."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """Return an image as a JPEG file, no longer than a screen shows."""
    small = image.copy()
    small.thumbnail((LONGEST, LONGEST))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=88)
    return content.getvalue()


def coloured_map(result: Result) -> Image.Image:
    """Return the anomaly map in colours, at the photograph's proportions.

    The scale is the same for all photographs: from 0 to twice the level that a region's peak must exceed. So a good
    part stays dark.
    """
    rule = result.bundle.rule
    height, width = result.size
    share = min(1.0, LONGEST / max(height, width))
    size = (max(1, round(height * share)), max(1, round(width * share)))
    values = result.bundle.at_original_size(result.small_map, size)
    places = np.clip(values / max(2 * rule.high, float(np.finfo(np.float32).tiny)), 0, 1)
    steps = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(places, steps, channel) for channel in zip(*COLOURS, strict=True)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))
