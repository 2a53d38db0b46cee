"""Lay out photographs of solar cells as a data set of MVTec AD's form: `elpv`.

    pip download --no-deps elpv-dataset
    python benchmarks/solar_cells.py elpv_dataset-*.whl /data

The package is ELPV (Deitsch et al., https://github.com/zae-bayern/elpv-dataset, CC BY-NC-SA 4.0): electroluminescence
images of 2,624 cells, 300 x 300 px, each with the probability that it is defective. Cells are drawn at random with a
fixed seed: of those that are surely good 200 to train on and 500 to test on, of those that are surely defective 500 to
test on. So many leave a standard error of about 0.01 in an AUROC. There are no masks.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from discrepancy.atomic import replacing

INSIDE = "elpv_dataset/data"
PARTS = {"train/good": (0.0, 0, 200), "test/good": (0.0, 200, 700), "test/defective": (1.0, 0, 500)}
"""For each folder: probability of a defect, and the first and last of the shuffled cells with it."""


def cells(package: zipfile.ZipFile) -> dict[float, list[str]]:
    """Return the files of the cells in a random order, by their probability of a defect."""
    lines = io.TextIOWrapper(package.open(f"{INSIDE}/labels.csv"), encoding="utf-8")
    rows = list(csv.reader(lines, delimiter=" ", skipinitialspace=True))
    found: dict[float, list[str]] = {}
    for index in np.random.default_rng(0).permutation(len(rows)):
        name, probability, *_ = rows[index]
        found.setdefault(float(probability), []).append(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the wheel elpv_dataset-*.whl")
    parser.add_argument("data", type=Path, help="data root; the category elpv is made there")
    options = parser.parse_args()
    with zipfile.ZipFile(options.package) as package, replacing(options.data / "elpv") as folder:
        drawn = cells(package)
        for part, (probability, first, last) in PARTS.items():
            (folder / part).mkdir(parents=True)
            for name in drawn[probability][first:last]:
                (folder / part / Path(name).name).write_bytes(package.read(f"{INSIDE}/{name}"))


if __name__ == "__main__":
    main()
