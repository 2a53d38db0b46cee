"""Defects of the gear: each function takes a good scene and returns it with one defect."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from discrepancy.demo import gear
from discrepancy.demo.gear import Break, GearScene
from discrepancy.demo.marks import Blotch, Groove, arc, around, new_seed
from discrepancy.demo.part import Part, named


def chipped_tooth(scene: GearScene, rng: np.random.Generator) -> GearScene:
    """Break off a part of one tooth, or nearly all of it, along a slanting line."""
    broken = Break(
        tooth=int(rng.integers(gear.TEETH)),
        top=rng.uniform(gear.ROOT + 0.01, gear.ROOT + 0.07),
        slant=float(rng.choice([-1, 1])) * rng.uniform(0.2, 1.0),
    )
    return replace(scene, broken=broken)


def crack(scene: GearScene, rng: np.random.Generator) -> GearScene:
    """Draw a jagged dark crack outwards from the bore, or from a hole."""
    if rng.random() < 0.5:
        angle = rng.uniform(0.4, 2 * math.pi - 0.4)
        start = (gear.BORE * math.cos(angle), gear.BORE * math.sin(angle))
    else:
        angle = 2 * math.pi * (rng.integers(gear.HOLES) + 0.5) / gear.HOLES
        out = gear.HOLE_CENTRE + gear.HOLE_RADIUS
        start = (out * math.cos(angle), out * math.sin(angle))
    path = arc(start, angle, rng.uniform(0.18, 0.30), rng.uniform(-0.5, 0.5), wobble=rng.normal(0, 0.5, 10))
    fissure = Groove(path, rng.uniform(0.034, 0.046), 0.03, colour=(0.02, 0.018, 0.016), opacity=0.9, burr=0.1)
    return replace(scene, marks=(*scene.marks, fissure))


def dent(scene: GearScene, rng: np.random.Generator) -> GearScene:
    """Dent the face: a smooth pit with a raised rim, in the steel's own colour."""
    centre = _on_face(rng)
    radius = rng.uniform(0.05, 0.075)
    stretch = (rng.uniform(1.0, 1.5), rng.uniform(0, math.pi))
    rim = Blotch(centre, 1.35 * radius, new_seed(rng), lift=0.014, waviness=0.1, stretch=stretch, softness=0.03)
    pit = Blotch(centre, radius, new_seed(rng), lift=-0.06, waviness=0.1, stretch=stretch, softness=0.03, fills=True)
    return replace(scene, marks=(*scene.marks, rim, pit))


def missing_keyway(scene: GearScene, _: np.random.Generator) -> GearScene:
    """Leave out the keyway: the bore is round, nothing is damaged."""
    return replace(scene, keyway=False)


def rust(scene: GearScene, rng: np.random.Generator) -> GearScene:
    """Cover a part of the steel with a mottled blotch of rust."""
    blotch = Blotch(
        centre=_on_face(rng),
        radius=rng.uniform(0.07, 0.14),
        seed=new_seed(rng),
        colour=(0.20, 0.075, 0.025),
        opacity=rng.uniform(0.65, 0.9),
        lift=0.004,
        gloss=0.3,
        softness=0.05,
        waviness=0.5,
        stretch=(rng.uniform(1.0, 1.6), rng.uniform(0, math.pi)),
        mottle=0.45,
        metal_only=True,
    )
    return replace(scene, marks=(*scene.marks, blotch))


def scratch(scene: GearScene, rng: np.random.Generator) -> GearScene:
    """Scratch the face: one or two bright scratches side by side."""
    start = _on_face(rng)
    # Along the face rather than off the gear or across the bore.
    heading = math.atan2(start[1], start[0]) + float(rng.choice([-1, 1])) * rng.uniform(1.3, 2.0)
    length, bend = rng.uniform(0.25, 0.42), rng.uniform(-0.4, 0.4)
    marks = []
    for _ in range(rng.integers(1, 3)):
        beside = (start[0] + rng.uniform(-0.05, 0.05), start[1] + rng.uniform(-0.05, 0.05))
        path = arc(beside, heading + rng.normal(0, 0.05), length * rng.uniform(0.7, 1), bend)
        marks.append(Groove(path, rng.uniform(0.034, 0.046), 0.025, colour=(0.8, 0.81, 0.83), opacity=0.85, burr=0.4))
    return replace(scene, marks=(*scene.marks, *marks))


def undrilled_hole(scene: GearScene, rng: np.random.Generator) -> GearScene:
    """Leave out one of the five holes; nothing is damaged."""
    drilled = [True] * gear.HOLES
    drilled[rng.integers(gear.HOLES)] = False
    return replace(scene, drilled=tuple(drilled))


GEAR = Part(
    draw=gear.draw,
    build=gear.build,
    defects=named(chipped_tooth, crack, dent, missing_keyway, rust, scratch, undrilled_hole),
)


def _on_face(rng: np.random.Generator) -> tuple[float, float]:
    """Return a point of the rim or of the hub, away from holes and teeth."""
    low, high = ((gear.RIM + 0.05, gear.ROOT - 0.04), (gear.BORE + 0.11, gear.HUB))[rng.integers(2)]
    return around((0.0, 0.0), rng.uniform(low, high), rng)
