"""Defects of the cable: each function takes a good scene and returns it with one defect."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from discrepancy.demo import cable
from discrepancy.demo.cable import CableScene, Core, Notch
from discrepancy.demo.marks import Blotch, Groove, Mark, Rod, arc, around, new_seed
from discrepancy.demo.part import Part, named


def swapped_core(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Swap two cores, or repeat a colour: each core is flawless, only the order is wrong."""
    colours = [core.colour for core in scene.cores]
    a, b = rng.choice(3, 2, replace=False)
    if rng.random() < 0.5:
        colours[a], colours[b] = colours[b], colours[a]
    else:
        colours[a] = colours[b]
    cores = tuple(replace(core, colour=colour) for core, colour in zip(scene.cores, colours, strict=True))
    return replace(scene, cores=cores)


def missing_strands(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Remove two to four neighbouring strands of one core."""
    place, core = _any_core(scene, rng)
    first = core.strands[rng.integers(len(core.strands))]
    nearest = np.argsort(((core.strands - first) ** 2).sum(1))
    present = core.present.copy()
    present[nearest[: rng.integers(2, 5)]] = False
    return _with_core(scene, place, replace(core, present=present))


def bent_strand(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Bend a strand of the outer ring out of its bundle, over the insulation."""
    place, core = _any_core(scene, rng)
    strand = int(rng.integers(len(core.strands) - cable.STRANDS_PER_RING[-1], len(core.strands)))
    x, y = (float(v) for v in core.strands[strand])
    path = arc(
        (core.centre[0] + x, core.centre[1] + y),
        heading=math.atan2(y, x) + rng.uniform(-0.4, 0.4),
        length=rng.uniform(0.18, 0.34),
        bend=rng.choice([-1, 1]) * rng.uniform(0.4, 1.6),
    )
    present = core.present.copy()
    present[strand] = False
    wire = Rod(path, 1.05 * float(core.radii[strand]), cable.COPPER, lift=0.01, gloss=1.1, metal=1.0, height=0.0)
    scene = _with_core(scene, place, replace(core, present=present))
    return replace(scene, marks=(*scene.marks, wire))


def tarnished_strands(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Oxidise strands of one core: dull and dark, or green."""
    _, core = _any_core(scene, rng)
    stain = Blotch(
        centre=around(core.centre, rng.uniform(0.0, 0.16), rng),
        radius=rng.uniform(0.09, 0.15),
        seed=new_seed(rng),
        colour=((0.10, 0.06, 0.045), (0.13, 0.24, 0.17))[rng.integers(2)],
        opacity=rng.uniform(0.7, 0.9),
        gloss=0.1,
        softness=0.03,
        metal_only=True,
    )
    return replace(scene, marks=(*scene.marks, stain))


def cut_core(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Cut the insulation of one core: a piece is missing, or a blade has gone across it."""
    place, core = _any_core(scene, rng)
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:
        notch = Notch(
            angle, rng.uniform(0.12, 0.22), rng.uniform(0.075, 0.13), rng.uniform(-0.5, 0.5), rng.uniform(1.0, 2.0)
        )
        return _with_core(scene, place, replace(core, notch=notch))
    start = (core.centre[0] + 0.40 * math.cos(angle), core.centre[1] + 0.40 * math.sin(angle))
    heading = angle + np.pi + rng.uniform(-0.7, 0.7)
    path = arc(start, heading, rng.uniform(0.13, 0.2), rng.uniform(-0.2, 0.2))
    blade = Groove(path, rng.uniform(0.06, 0.08), 0.06, colour=(0.02, 0.02, 0.02), opacity=0.75)
    return replace(scene, marks=(*scene.marks, blade))


def nicked_sheath(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Cut a piece from the sheath's edge."""
    notch = Notch(
        angle=rng.uniform(0, 2 * np.pi),
        width=rng.uniform(0.12, 0.28),
        depth=rng.uniform(0.065, 0.13),
        lean=rng.uniform(-0.9, 0.9),
        roundness=rng.uniform(1.0, 1.8),
    )
    return replace(scene, notch=notch)


def pierced_sheath(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Pierce the sheath as a nail does: a small hole with a raised rim."""
    centre = around((0.0, 0.0), rng.uniform(0.91, 0.94), rng)
    radius = rng.uniform(0.03, 0.042)
    rim = Blotch(centre, 1.6 * radius, new_seed(rng), lift=0.014, waviness=0.15)
    hole = Blotch(
        centre, radius, new_seed(rng), colour=(0.05, 0.05, 0.05), opacity=0.85, lift=-0.07, gloss=0.0, waviness=0.2
    )
    return replace(scene, marks=(*scene.marks, rim, hole))


def contamination(scene: CableScene, rng: np.random.Generator) -> CableScene:
    """Contaminate the cut face with grease, a flake of plastic, or a metal chip."""
    centre = around((0.0, 0.0), 0.9 * math.sqrt(rng.random()), rng)
    kind = rng.integers(3)
    shape = (rng.uniform(1.0, 1.7), rng.uniform(0, np.pi))
    dirt: Mark
    if kind == 0:
        dirt = Blotch(
            centre,
            rng.uniform(0.05, 0.10),
            new_seed(rng),
            colour=(0.035, 0.025, 0.018),
            opacity=0.85,
            lift=0.012,
            gloss=0.6,
            metal=0.0,
            stretch=shape,
            softness=0.02,
            fills=True,
        )
    elif kind == 1:
        flake = ((0.45, 0.06, 0.04), (0.75, 0.74, 0.70), (0.05, 0.07, 0.10))[rng.integers(3)]
        dirt = Blotch(
            centre,
            rng.uniform(0.04, 0.07),
            new_seed(rng),
            colour=flake,
            lift=0.02,
            gloss=0.3,
            metal=0.0,
            stretch=shape,
            fills=True,
        )
    else:
        path = arc(centre, rng.uniform(0, 2 * np.pi), rng.uniform(0.14, 0.24), rng.choice([-1, 1]) * rng.uniform(1, 4))
        dirt = Rod(path, rng.uniform(0.024, 0.032), (0.42, 0.43, 0.45), lift=0.02, gloss=0.8, metal=1.0)
    return replace(scene, marks=(*scene.marks, dirt))


CABLE = Part(
    draw=cable.draw,
    build=cable.build,
    defects=named(
        bent_strand,
        contamination,
        cut_core,
        missing_strands,
        nicked_sheath,
        pierced_sheath,
        swapped_core,
        tarnished_strands,
    ),
)


def _any_core(scene: CableScene, rng: np.random.Generator) -> tuple[int, Core]:
    place = int(rng.integers(len(scene.cores)))
    return place, scene.cores[place]


def _with_core(scene: CableScene, place: int, core: Core) -> CableScene:
    return replace(scene, cores=(*scene.cores[:place], core, *scene.cores[place + 1 :]))
