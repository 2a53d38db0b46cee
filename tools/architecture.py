"""Draws docs/pictures/architecture.png: the way of the data, and the packages with the imports between them.

    python tools/architecture.py

Packages and imports are read from the source by grimp, which comes with import-linter; only the places and the few
words in the boxes are set here. The picture carries what it shows as PNG text, so that a test can tell when it is out
of date.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grimp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from discrepancy.figures import style

ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = ROOT / "docs/pictures/architecture.png"
PACKAGE: Final = "discrepancy"

WIDTH, HEIGHT = 1100, 1084  # px, y downwards
LEFT, GAP = 36, 28  # of the grid in which the packages stand, px
COLUMN = (WIDTH - 2 * LEFT + GAP) / 6
BOX, CORNER = 82, 6  # height of a box and radius of its corners, px
TINTS: Final = {"kedro": "#EEF6FB", "core": "#EFF7F3", "helpers": "#F5F5F5"}
EDGES: Final = {"kedro": style.BLUE, "core": style.GREEN, "helpers": style.QUIET}


@dataclass(frozen=True)
class Place:
    """The place of a package in the picture, and what it is for.

    Attributes:
        row: 0 at the top; a package may import those of lower rows.
        start: first column, 0 to 6.
        end: last column, exclusive.
        role: a few words.
    """

    row: int
    start: float
    end: float
    role: str


PLACES: Final = {
    "pipelines": Place(1, 0, 4.2, "nodes and their wiring, one folder per stage"),
    "benchmark": Place(1, 4.2, 6, "many runs, compared"),
    "serving": Place(2, 0, 1, "bundles over HTTP"),
    "datasets": Place(2, 1, 4.8, "Kedro datasets: how things lie on disk"),
    "tracking": Place(2, 4.8, 6, "MLflow: runs, metrics, detectors"),
    "export": Place(3, 0, 0.8, "ONNX, bundles"),
    "prediction": Place(3, 0.8, 1.6, "new photographs"),
    "detection": Place(3, 1.6, 2.4, "saved, scored"),
    "decisions": Place(4, 0, 2.2, "thresholds, outlines, drift, costs"),
    "methods": Place(3, 2.4, 6, "one contract, one folder per method"),
    "training": Place(4, 3.5, 5, "the one loop, checkpoints, processes"),
    "demo": Place(5, 1, 2, "rendered parts"),
    "data": Place(5, 2, 3, "layouts, decoding, checks"),
    "download": Place(5, 3, 4, "public data sets, verified"),
    "features": Place(5, 4, 5, "backbones, weights, cache"),
    "figures": Place(5, 5, 6, "galleries, curves, pages"),
    "metrics": Place(5, 0, 1, "exact, from one sort"),
}
TOPS: Final = (292, 396, 502, 662, 770, 878)  # of the rows, px
CORE: Final = {name for name, place in PLACES.items() if place.row >= 3}
STATIONS: Final = (
    ("image files", "01_raw", "download, demo"),
    ("sample table", "02_intermediate", "data"),
    ("image array", "03_primary", "data"),
    ("cached features", "04_feature", "features"),
    ("detector", "06_models", "methods, training"),
    ("anomaly maps", "07_model_output", "methods, detection"),
    ("metrics, decisions, report", "08_reporting", "decisions, metrics"),
)


@dataclass(frozen=True)
class House:
    """The packages as the source has them.

    Attributes:
        packages: their names, and the names of the packages below each.
        imports: (importer, imported), between packages.
        helpers: modules beside the packages that the core imports, directly or not.
        project: the other modules beside the packages.
    """

    packages: dict[str, list[str]]
    imports: set[tuple[str, str]]
    helpers: list[str]
    project: list[str]

    @property
    def arrows(self) -> list[tuple[str, str]]:
        """The imports that are drawn: of the core, sideways, and upwards; no other has anything to tell."""
        drawn = {
            (one, other)
            for one, other in self.imports
            if (one in CORE and other in CORE) or PLACES[other].row <= PLACES[one].row
        }
        for arrow in sorted(drawn, key=lambda pair: (PLACES[pair[1]].row - PLACES[pair[0]].row, pair), reverse=True):
            if PLACES[arrow[1]].row >= PLACES[arrow[0]].row and _follows(arrow, drawn - {arrow}):
                drawn.remove(arrow)
        return sorted(drawn)

    def shown(self) -> str:
        """All that the picture says of the source, as JSON."""
        facts = {"packages": self.packages, "helpers": self.helpers, "project": self.project, "arrows": self.arrows}
        return json.dumps(facts, sort_keys=True)


def read_house() -> House:
    """Read packages and imports from the source.

    Raises:
        LookupError: a package has no place in the picture.
    """
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    children = {module.rpartition(".")[2] for module in graph.find_children(PACKAGE)}
    inside = {
        name: sorted(child.rpartition(".")[2] for child in graph.find_children(f"{PACKAGE}.{name}"))
        for name in children
    }
    packages = {
        name: [child for child in parts if graph.find_children(f"{PACKAGE}.{name}.{child}")]
        for name, parts in sorted(inside.items())
        if parts
    }
    if strangers := sorted(set(packages) - set(PLACES)):
        raise LookupError(f"tools/architecture.py: add {', '.join(strangers)} to PLACES")
    imports = {(_top(one), _top(to)) for one in graph.modules for to in graph.find_modules_directly_imported_by(one)}
    beside = children - set(packages) - {"__main__"}
    helpers: set[str] = set()
    while more := {to for one, to in imports if one in CORE | helpers and to in beside - helpers}:
        helpers |= more
    between = {(one, other) for one, other in imports if one != other and {one, other} <= set(packages)}
    return House(packages, between, sorted(helpers), sorted(beside - helpers))


def _follows(arrow: tuple[str, str], others: set[tuple[str, str]]) -> bool:
    """Return whether the others lead from the arrow's start to its end without a step upwards."""
    reached = {arrow[0]}
    while more := {to for one, to in others if one in reached and PLACES[to].row >= PLACES[one].row} - reached:
        reached |= more
    return arrow[1] in reached


def _top(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def draw(house: House) -> Figure:
    """Draw the picture."""
    figure = style.new_figure(WIDTH / style.DPI, HEIGHT / style.DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.set_axis_off()
    draw_way(axes)
    draw_packages(axes, house)
    return figure


def draw_way(axes: Axes) -> None:
    """Draw what becomes of the photographs, from left to right."""
    write(axes, LEFT, 34, "The way of the data", style.LARGE, bold=True)
    wide = (WIDTH - 2 * LEFT - (len(STATIONS) - 1) * GAP) / len(STATIONS)
    for index, (name, folder, packages) in enumerate(STATIONS):
        x = LEFT + index * (wide + GAP)
        box(axes, (x, 60, wide, 62), "white", style.ORANGE)
        centred(axes, x + wide / 2, 91, name, wide - 16, bold=True)
        centred(axes, x + wide / 2, 138, folder, wide + GAP, size=style.SMALL, colour=style.QUIET)
        centred(axes, x + wide / 2, 158, packages, wide + GAP, size=style.SMALL, colour=style.GREEN)
        if index:
            arrow(axes, (x - GAP + 2, 91), (x - 2, 91), style.INK)
    words = "Below each: its folder in data/, and the packages that make it"
    write(axes, LEFT + style.width("The way of the data", style.LARGE, bold=True) + 24, 34, words, colour=style.QUIET)


def draw_packages(axes: Axes, house: House) -> None:
    """Draw the packages in their rows, and the arrows between them."""
    write(axes, LEFT, 222, "The packages", style.LARGE, bold=True)
    area(axes, 250, 600, "kedro", "Kedro and MLflow: wiring, storage, tracking")
    area(axes, 620, 976, "core", "Core: knows neither Kedro nor MLflow")
    area(axes, 996, 1068, "helpers", "Helpers, imported from everywhere")
    for top in (600, 976):
        arrow(axes, (WIDTH / 2, top - 4), (WIDTH / 2, top + 24), style.QUIET, weight=5)
    wide = WIDTH - 2 * LEFT
    box(axes, (LEFT, TOPS[0], wide, BOX), "white", style.BLUE)
    centred(axes, WIDTH / 2, TOPS[0] + 18, "command line, settings, hooks", wide - 20, bold=True)
    centred(axes, WIDTH / 2, TOPS[0] + 50, ", ".join(house.project), wide - 40, size=style.SMALL, colour=style.QUIET)
    centred(axes, WIDTH / 2, 1042, ", ".join(house.helpers), wide - 40, size=style.SMALL)
    for name, parts in house.packages.items():
        package(axes, name, parts)
    lanes: list[float] = []
    for one, other in house.arrows:
        connect(axes, house, one, other, lanes)
    legend(axes, house)


def area(axes: Axes, top: float, bottom: float, kind: str, title: str) -> None:
    """Draw the ground on which the packages of one kind stand."""
    box(axes, (14, top, WIDTH - 28, bottom - top), TINTS[kind], TINTS[kind])
    write(axes, LEFT, top + 18, title, size=style.SMALL + 0.5, colour=EDGES[kind], bold=True)


def package(axes: Axes, name: str, parts: list[str]) -> None:
    """Draw one package: its name, what it is for, the packages in it."""
    left, top, right, _ = frame(name)
    box(axes, (left, top, right - left, BOX), "white", EDGES["core" if name in CORE else "kedro"])
    middle = (left + right) / 2
    centred(axes, middle, top + 18, name, right - left, bold=True)
    if len(parts) < 2:  # a single folder tells nothing that its package's words do not
        centred(axes, middle, top + 50, PLACES[name].role, right - left - 14, size=style.SMALL)
        return
    centred(axes, middle, top + 41, PLACES[name].role, right - left - 14, size=style.SMALL)
    centred(axes, middle, top + 64, " · ".join(parts), right - left - 10, size=style.SMALL, colour=style.QUIET)


def frame(name: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a package's box, px."""
    place = PLACES[name]
    left = LEFT + place.start * COLUMN
    return left, TOPS[place.row], left + (place.end - place.start) * COLUMN - GAP, TOPS[place.row] + BOX


def connect(axes: Axes, house: House, one: str, other: str, lanes: list[float]) -> None:
    """Draw the arrow of an import: straight across where the boxes are neighbours, else straight down."""
    mutual = (other, one) in house.imports
    left, top, right, bottom = frame(one)
    left2, top2, right2, bottom2 = frame(other)
    if PLACES[one].row == PLACES[other].row:
        if mutual and one > other:
            return
        y = (top + bottom) / 2
        ends = ((right, y), (left2, y)) if left < left2 else ((left, y), (right2, y))
        arrow(axes, *ends, style.INK, both=mutual)
        return
    upwards = PLACES[other].row < PLACES[one].row
    x = free_lane(house, one, other, lanes)
    lanes.append(x)
    ends = ((x, top), (x, bottom2)) if upwards else ((x, bottom), (x, top2))
    arrow(axes, *ends, style.VERMILLION if upwards else style.INK)


def free_lane(house: House, one: str, other: str, lanes: list[float]) -> float:
    """Return an x at which a vertical line from one package to the other meets no box and no other line.

    Raises:
        LookupError: there is none.
    """
    rows = sorted((PLACES[one].row, PLACES[other].row))
    between = [frame(name) for name in house.packages if rows[0] < PLACES[name].row < rows[1]]
    left, right = max(frame(one)[0], frame(other)[0]), min(frame(one)[2], frame(other)[2])
    middle = (left + right) / 2
    candidates = sorted(range(int(left) + 10, int(right) - 9, 2), key=lambda x: abs(x - middle))
    for x in candidates:
        if all(not a - 6 < x < b + 6 for a, _, b, _ in between) and all(abs(x - lane) >= 18 for lane in lanes):
            return x
    raise LookupError(f"no straight way from {one} to {other}: set other places in tools/architecture.py")


def legend(axes: Axes, house: House) -> None:
    """Say what the arrows mean, at the right end of the core's title."""
    y = 639
    entries = [("imports; implied arrows are left out", style.INK)]
    if any(PLACES[other].row < PLACES[one].row for one, other in house.arrows):
        entries.insert(0, ("upwards: an exception", style.VERMILLION))
    x = float(WIDTH - LEFT)
    for words, colour in entries:
        x -= style.width(words, style.SMALL)
        write(axes, x, y, words, size=style.SMALL)
        arrow(axes, (x - 38, y), (x - 6, y), colour)
        x -= 60


def box(axes: Axes, bounds: tuple[float, float, float, float], face: str, edge: str) -> None:
    """Draw a box: left, top, width and height, px."""
    x, y, wide, high = bounds
    shape = f"round,pad=0,rounding_size={CORNER}"
    axes.add_patch(FancyBboxPatch((x, y), wide, high, shape, facecolor=face, edgecolor=edge, linewidth=1.1))


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    *,
    both: bool = False,
    weight: float = 1.3,
) -> None:
    """Draw a straight arrow, with two heads if `both`."""
    head = "head_length=4.5,head_width=2.6" if weight < 2 else "head_length=9,head_width=7"
    kind = f"<|-|>,{head}" if both else f"-|>,{head}"
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle=kind, color=colour, linewidth=weight, shrinkA=1, shrinkB=1, mutation_scale=1,
            joinstyle="miter", capstyle="butt",
        )
    )  # fmt: skip


def write(axes: Axes, x: float, y: float, words: str, size: float = style.NORMAL, **look: Any) -> None:
    """Write one line that begins at x; look: see `style.text`."""
    axes.text(x, y + size * 0.5, words, ha="left", va="baseline", **style.text(size, **look))


def centred(
    axes: Axes, x: float, y: float, words: str, wide: float, *, size: float = style.NORMAL, **look: Any
) -> None:
    """Write words around x, y, on as many lines as the width asks for; look: see `style.text`."""
    lines: list[str] = []
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and style.width(longer, size, bold=look.get("bold", False)) <= wide:
            lines[-1] = longer
        else:
            lines.append(word)
    height = size * 1.9
    first = y - (len(lines) - 1) * height / 2 + size * 0.5  # of the first base line: text sits on lines, however deep
    for index, line in enumerate(lines):
        axes.text(x, first + index * height, line, ha="center", va="baseline", **style.text(size, **look))


def main() -> None:
    """Draw the picture and say where it is."""
    house = read_house()
    draw(house).savefig(PICTURE, metadata={"Software": None, "Description": house.shown()})
    print(PICTURE.relative_to(ROOT))  # noqa: T201


if __name__ == "__main__":
    main()
