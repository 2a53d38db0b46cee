"""Lights to photograph a part under: what a lamp and a camera change in every photograph alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

from discrepancy.errors import InputError


def _check(name: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise InputError(f"{name} of a light is {value!r}; expected {expected}.")


@dataclass(frozen=True)
class Light:
    """A lamp and a camera, relative to the usual ones. Every photograph under it varies as those under these do.

    Attributes:
        exposure: factor of the light that reaches the camera, above 0.
        warmth: shift of the colour temperature in [-0.5, 0.5]; red gains this share, and blue loses it.
        falloff: shares of its power that the lamp gains from the centre to the right and to the lower edge; their
            magnitudes add up to at most 0.5.
        noise: factor of the camera's noise, at least 0.

    Raises:
        InputError: a quantity is out of its range.
    """

    exposure: float = 1.0
    warmth: float = 0.0
    falloff: tuple[float, float] = (0.0, 0.0)
    noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse quantities that no lamp or camera has."""
        _check("exposure", self.exposure, 0 < self.exposure < math.inf, "a number above 0")
        _check("warmth", self.warmth, abs(self.warmth) <= 0.5, "a number in [-0.5, 0.5]")
        slopes = sum(map(abs, self.falloff))
        _check("falloff", self.falloff, slopes <= 0.5, "two numbers whose magnitudes add up to at most 0.5")
        _check("noise", self.noise, 0 <= self.noise < math.inf, "a number of at least 0")


USUAL = Light()
"""The light of the demo's training and test images."""
DIM = Light(exposure=0.45, warmth=0.18, falloff=(-0.15, 0.0), noise=2.5)
"""A lamp that got old: darker, above all to the right, and warmer; the camera's higher gain adds noise."""
LIGHTS = {"usual": USUAL, "dim": DIM}
