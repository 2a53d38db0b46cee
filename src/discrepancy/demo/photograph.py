"""Light and camera: from a surface to a photograph.

One lamp with a soft fall-off and an ambient dome light the height field (Lambert's and Blinn's terms, shadows along
the lamp's direction, darker hollows). The camera adds blur, vignetting, shot and read noise and the gamma curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from discrepancy.demo.light import Light
from discrepancy.demo.surface import Field, Surface, rgb

GAMMA = 1 / 2.2


@dataclass(frozen=True)
class Setting:
    """Lamp and camera of one photograph; angles in radians, powers relative to white paper."""

    azimuth: float
    elevation: float
    lamp: float
    ambient: float
    warmth: float
    falloff: tuple[float, float]
    blur: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Setting:
        """Draw one setting from the range found on a shop floor."""
        return cls(
            azimuth=math.radians(rng.normal(-125, 16)),
            elevation=math.radians(rng.uniform(48, 62)),
            lamp=rng.uniform(0.78, 1.06),
            ambient=rng.uniform(0.30, 0.40),
            warmth=rng.normal(0, 0.025),
            falloff=(rng.normal(0, 0.07), rng.normal(0, 0.07)),
            blur=rng.uniform(0.45, 0.7),
            noise=rng.uniform(0.7, 1.2),
        )

    def under(self, light: Light) -> Setting:
        """Return the same setting under another light; the usual one changes no bit of it."""
        return replace(
            self,
            lamp=self.lamp * light.exposure,
            ambient=self.ambient * light.exposure,
            warmth=self.warmth + light.warmth,
            falloff=(self.falloff[0] + light.falloff[0], self.falloff[1] + light.falloff[1]),
            noise=self.noise * light.noise,
        )


def shade(surface: Surface, setting: Setting, *, shadows: bool = True) -> Field:
    """Compute the linear light [3, H, W] that reaches the camera from above, with or without cast shadows."""
    lamp = (
        math.cos(setting.azimuth) * math.cos(setting.elevation),
        math.sin(setting.azimuth) * math.cos(setting.elevation),
        math.sin(setting.elevation),
    )
    # Blinn's vector lies halfway between the lamp and the camera, which looks straight down.
    length = math.hypot(lamp[0], lamp[1], lamp[2] + 1)
    halfway = (lamp[0] / length, lamp[1] / length, (lamp[2] + 1) / length)
    x, y, up = _normals(surface)
    power = _lamp_power(setting, len(up))
    if shadows:
        power *= 1 - _shadow(surface, setting)
    diffuse = np.maximum(x * lamp[0] + y * lamp[1] + up * lamp[2], 0) * power
    diffuse += setting.ambient * _openness(surface) * (0.35 + 0.65 * up)
    glint = cv2.pow(np.maximum(x * halfway[0] + y * halfway[1] + up * halfway[2], 0), 28)
    glint *= power * surface.gloss
    # Metal colours its highlights, anything else leaves them white.
    tinted = glint * surface.metal
    light = surface.albedo * (diffuse + tinted)
    light += glint - tinted
    light *= rgb((1 + setting.warmth, 1, 1 - setting.warmth))
    return light


def _lamp_power(setting: Setting, size: int) -> Field:
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    return setting.lamp * (1 + setting.falloff[0] * ramp + setting.falloff[1] * ramp[:, None])


def expose(light: Field, setting: Setting, size: int) -> Field:
    """Compute the sensor's linear picture [size, size, 3] without noise."""
    picture = cv2.merge([cv2.resize(channel, (size, size), interpolation=cv2.INTER_AREA) for channel in light])
    picture = cv2.GaussianBlur(picture, (0, 0), setting.blur)
    ramp = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    picture *= (1 - 0.09 * (ramp + ramp[:, None]))[..., None]
    return picture


def develop(picture: Field) -> Field:
    """Convert a linear picture to grey values 0 .. 255 (float32): soft shoulder, then gamma."""
    tone = np.maximum(picture, 0)
    tone = np.where(tone > 0.7, 0.7 + 0.3 * np.tanh((tone - 0.7) / 0.3), tone)
    return (255 * cv2.pow(tone.astype(np.float32), GAMMA)).astype(np.float32)


def digitise(picture: Field, setting: Setting, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Convert to the photograph [size, size, 3]: shot and read noise, development, 8 bits."""
    sigma = setting.noise * np.sqrt(1.2e-4 * np.maximum(picture, 0) + 3e-6)
    noisy = picture + sigma * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(develop(noisy) + 0.5, 0, 255).astype(np.uint8)


def _normals(surface: Surface) -> tuple[Field, Field, Field]:
    # Steep walls would turn whole edges black or white; a bevel of at most 60 degrees looks right.
    scale = 1 / (8 * surface.pixel)
    slopes = [
        np.clip(cv2.Sobel(surface.height, cv2.CV_32F, dx, dy, ksize=3, scale=scale), -1.7, 1.7)
        for dx, dy in ((1, 0), (0, 1))
    ]
    up = 1 / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    return -slopes[0] * up, -slopes[1] * up, up


def _openness(surface: Surface) -> Field:
    """Return 1 in the open and less in hollows: the depth of a point below its surroundings, at two scales."""
    half = cv2.resize(surface.height, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    depth = np.zeros_like(half)
    for radius, weight in ((0.02, 6.0), (0.07, 2.5)):
        around = cv2.GaussianBlur(half, (0, 0), max(radius / (2 * surface.pixel), 0.3))
        depth += weight * np.maximum(around - half, 0)
    return np.asarray(cv2.resize(1 / (1 + depth), surface.height.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _shadow(surface: Surface, setting: Setting) -> Field:
    """Return 0 in light .. 0.85 in the umbra: march towards the lamp in growing steps and test for occluders."""
    half = cv2.resize(surface.height, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    blocked = np.zeros_like(half)
    direction = np.array([math.cos(setting.azimuth), math.sin(setting.azimuth)])
    for step in (0.012, 0.024, 0.04, 0.065, 0.1, 0.15):
        dx, dy = direction * step / (2 * surface.pixel)
        move = np.array([[1, 0, -dx], [0, 1, -dy]])
        there = cv2.warpAffine(half, move, half.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        ray = half + step * math.tan(setting.elevation)
        np.maximum(blocked, np.clip((there - ray) / (0.25 * step + 0.008), 0, 1), out=blocked)
    soft = cv2.GaussianBlur(blocked, (0, 0), max(0.006 / (2 * surface.pixel), 0.3))
    return 0.85 * cv2.resize(soft, surface.height.shape[::-1], interpolation=cv2.INTER_LINEAR)
