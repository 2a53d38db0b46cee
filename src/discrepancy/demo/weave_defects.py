"""Defects of the cloth: each function takes a good scene and returns it with one defect."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from discrepancy.demo import weave
from discrepancy.demo.marks import Blotch, Rod, arc, new_seed
from discrepancy.demo.part import Part, named
from discrepancy.demo.weave import PITCH, YARNS, Fault, WeaveScene


def broken_yarn(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Remove a yarn over four to nine crossings: the layer below is visible."""
    return _with_fault(scene, rng, length=rng.uniform(4, 9), swell=-1.0)


def float_fault(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Float two or three neighbouring yarns over crossings where they belong below: the pattern alone is wrong."""
    i, j = _crossing(scene, rng)
    over = scene.over.copy()
    width, length = rng.integers(2, 4), rng.integers(4, 7)
    if rng.random() < 0.5:
        over[i : i + width, j : j + length] = 1
    else:
        over[i : i + length, j : j + width] = -1
    return replace(scene, over=over)


def foreign_fibre(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Lay a foreign thread on the cloth."""
    colour = ((0.50, 0.03, 0.03), (0.01, 0.01, 0.01), (0.06, 0.30, 0.07))[rng.integers(3)]
    path = arc(
        _place(rng),
        rng.uniform(0, 2 * math.pi),
        rng.uniform(0.45, 0.8),
        rng.uniform(-3, 3),
        steps=16,
        wobble=rng.normal(0, 0.15, 16),
    )
    return _with_marks(scene, Rod(_in_frame(scene, path), rng.uniform(0.020, 0.026), colour, lift=0.004, bridges=True))


def hole(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Tear a small hole with a wavy edge; it is dark below."""
    centre = _in_frame(scene, (_place(rng),))[0]
    rim = Blotch(centre, 0.10, new_seed(rng), lift=0.02, waviness=0.3)
    pit = Blotch(
        centre,
        rng.uniform(0.055, 0.085),
        new_seed(rng),
        colour=(0.012, 0.012, 0.014),
        opacity=0.95,
        lift=-0.12,
        gloss=0.0,
        waviness=0.25,
    )
    return _with_marks(scene, rim, pit)


def loop(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Pull out a weft yarn: a loop of it stands on the cloth and throws a shadow."""
    length, bend = rng.uniform(0.35, 0.55), rng.choice([-1, 1]) * rng.uniform(2.5, 4.5)
    path = arc(_place(rng), rng.uniform(0, 2 * math.pi), length, bend, steps=16, wobble=rng.normal(0, 0.12, 16))
    yarn = Rod(
        _in_frame(scene, path),
        rng.uniform(0.024, 0.030),
        weave.WEFT,
        lift=0.03,
        bridges=True,
        twists=round(30 * length),
    )
    return _with_marks(scene, yarn)


def slub(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Thicken a yarn to twice its width over a few crossings."""
    return _with_fault(scene, rng, length=rng.uniform(4, 7), swell=rng.uniform(0.7, 1.0))


def stain(scene: WeaveScene, rng: np.random.Generator) -> WeaveScene:
    """Soak the cloth with oil or rusty water; the weave stays visible."""
    colour = ((0.03, 0.025, 0.018), (0.24, 0.12, 0.04))[rng.integers(2)]
    blotch = Blotch(
        _in_frame(scene, (_place(rng),))[0],
        rng.uniform(0.10, 0.18),
        new_seed(rng),
        colour=colour,
        opacity=rng.uniform(0.5, 0.7),
        softness=0.05,
        waviness=0.4,
        stretch=(rng.uniform(1, 1.6), rng.uniform(0, 3)),
    )
    return _with_marks(scene, blotch)


WEAVE = Part(
    draw=weave.draw,
    build=weave.build,
    defects=named(broken_yarn, float_fault, foreign_fibre, hole, loop, slub, stain),
)


def _place(rng: np.random.Generator) -> tuple[float, float]:
    """Return a point of the picture, not too near its edge."""
    return rng.uniform(-0.75, 0.75), rng.uniform(-0.75, 0.75)


def _in_frame(scene: WeaveScene, path: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Convert points of the picture to the cloth's frame."""
    return tuple(scene.pose.to_frame(point) for point in path)


def _crossing(scene: WeaveScene, rng: np.random.Generator) -> tuple[int, int]:
    """Return the crossing of warp i and weft j near a random place of the picture."""
    x, y = scene.pose.to_frame(_place(rng))
    return round(x / PITCH + YARNS / 2), round(y / PITCH + YARNS / 2)


def _with_fault(scene: WeaveScene, rng: np.random.Generator, *, length: float, swell: float) -> WeaveScene:
    i, j = _crossing(scene, rng)
    warp = bool(rng.random() < 0.5)
    yarn, middle = (i, j) if warp else (j, i)
    return replace(scene, fault=Fault(warp, yarn, middle - length / 2, length, swell))


def _with_marks(scene: WeaveScene, *marks: Blotch | Rod) -> WeaveScene:
    return replace(scene, marks=(*scene.marks, *marks))
