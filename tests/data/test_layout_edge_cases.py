"""Every reader on every odd corner: names, suffixes, links, hidden files, litter, masks without `_mask`, empty ones."""

import csv
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from discrepancy.data.layouts import LAYOUTS, read_samples

SIZE = (8, 6)


@dataclass(frozen=True)
class Tree:
    """Where a data set keeps things; `{}` is the stem."""

    dataset: str
    good: tuple[str, ...]
    bad: str
    mask: str
    plain_mask: str | None = None
    empty: str | None = None


def split(dataset, **more):
    good = ("train/good/0.png", "train/good/1.png", "test/good/2.png")
    mask = "ground_truth/crack/{}_mask.png"
    return Tree(dataset, good, "test/crack/{}.png", mask, "ground_truth/crack/{}.png", "test/nothing", **more)


TREES = {
    "mvtec_ad": split("mvtec_ad"),
    "bottlecap": split("bottlecap"),
    "folder, split": split("folder"),
    "folder, plain": Tree(
        "folder",
        tuple(f"good/{number}.png" for number in range(5)),
        "crack/{}.png",
        "ground_truth/crack/{}_mask.png",
        "ground_truth/crack/{}.png",
        "nothing",
    ),
    "btad": Tree(
        "btad",
        ("train/ok/0.bmp", "train/ok/1.bmp", "test/ok/2.bmp"),
        "test/ko/{}.bmp",
        "ground_truth/ko/{}.png",
        "ground_truth/ko/{}.bmp",
        "test/nothing",
    ),
    "mvtec_3d": Tree(
        "mvtec_3d",
        ("train/good/rgb/0.png", "validation/good/rgb/1.png", "test/good/rgb/2.png"),
        "test/crack/rgb/{}.png",
        "test/crack/gt/{}.png",
        empty="test/nothing",
    ),
    "kolektor_sdd": Tree(
        "kolektor_sdd",
        tuple(f"kos{item:02d}/Part0.jpg" for item in range(1, 7)),
        "kos01/{}.jpg",
        "kos01/{}_label.bmp",
        empty="kos07",
    ),
    "visa": Tree(
        "visa",
        tuple(f"Data/Images/Normal/{number}.JPG" for number in range(3)),
        "Data/Images/Anomaly/{}.JPG",
        "Data/Masks/Anomaly/{}.png",
        empty="Data/Images/Nothing",
    ),
}


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([*path.name.encode(), *path.parent.name.encode()]).integers(0, 256, (*SIZE[::-1], 3))
    Image.fromarray(noise.astype(np.uint8)).save(path)


def mask(path: Path, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", SIZE, 0)
    picture.putpixel((3, 2), value)
    picture.save(path)


def build(root: Path, tree: Tree, *, bad: str, bad_mask: str) -> Path:
    """The tree in a category folder `part`; the one defective image and its mask have the names given."""
    part = root / "part"
    for name in tree.good:
        photograph(part / name)
        if tree.dataset == "kolektor_sdd":
            mask((part / name).with_name("Part0_label.bmp"), 0)
    photograph(part / bad)
    mask(part / bad_mask)
    if tree.dataset == "visa":
        splits = ["train"] * (len(tree.good) - 1) + ["test"]
        rows = [["part", split, "normal", f"part/{name}", ""] for split, name in zip(splits, tree.good, strict=True)]
        rows.append(["part", "test", "anomaly", f"part/{bad}", f"part/{bad_mask}"])
        (root / "split_csv").mkdir()
        with (root / "split_csv/1cls.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *rows])
    return part


def upper(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{suffix.upper()}"


def expect(root: Path, tree: Tree, *, bad: str, bad_mask: str, split: str = "test"):
    """The table holds the good images and this defective one with this mask, and nothing else."""
    table = read_samples(tree.dataset, root, "part")
    anomalous = table[table["label"] == 1]
    assert anomalous[["image", "mask", "split"]].to_numpy().tolist() == [[f"part/{bad}", f"part/{bad_mask}", split]]
    assert set(table["image"][table["label"] == 0]) == {f"part/{name}" for name in tree.good}
    assert set(table["split"]) >= {"train", "test"}
    return LAYOUTS[tree.dataset].scan(root / "part")


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
class TestEachReader:
    """One odd thing at a time."""

    @pytest.mark.parametrize("stem", ["0 1", "größe (2), ü", "日本語", "a.b.c", "UPPER", "-x", "it's"])
    def test_names(self, tmp_path, tree, stem):
        names = {"bad": tree.bad.format(stem), "bad_mask": tree.mask.format(stem)}
        build(tmp_path, tree, **names)
        expect(tmp_path, tree, **names)

    def test_upper_case_suffixes(self, tmp_path, tree):
        names = {"bad": upper(tree.bad.format("x")), "bad_mask": upper(tree.mask.format("x"))}
        build(tmp_path, tree, **names)
        expect(tmp_path, tree, **names)

    def test_a_mask_whose_umlaut_is_two_characters(self, tmp_path, tree):
        """As archives that were packed on macOS have it."""
        composed, apart = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))
        names = {"bad": tree.bad.format(composed), "bad_mask": tree.mask.format(apart)}
        build(tmp_path, tree, **names)
        expect(tmp_path, tree, **names)

    def test_a_link_to_a_file(self, tmp_path, tree):
        names = {"bad": tree.bad.format("x"), "bad_mask": tree.mask.format("x")}
        part = build(tmp_path, tree, **names)
        for number, name in enumerate(names.values()):
            elsewhere = tmp_path / f"elsewhere{number}{Path(name).suffix}"
            os.rename(part / name, elsewhere)
            (part / name).symlink_to(elsewhere)
        expect(tmp_path, tree, **names)

    def test_a_link_to_a_folder(self, tmp_path, tree):
        names = {"bad": tree.bad.format("x"), "bad_mask": tree.mask.format("x")}
        part = build(tmp_path, tree, **names)
        folder = (part / names["bad"]).parent
        os.rename(folder, tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        expect(tmp_path, tree, **names)

    @pytest.mark.parametrize("litter", ["Thumbs.db", "desktop.ini", ".hidden.png", ".DS_Store", "._x.png"])
    def test_hidden_files_and_litter(self, tmp_path, tree, litter, caplog):
        names = {"bad": tree.bad.format("x"), "bad_mask": tree.mask.format("x")}
        part = build(tmp_path, tree, **names)
        places = {(part / name).parent / litter for name in (*names.values(), tree.good[0])}
        for place in places:
            place.write_bytes(b"no image")
        scan = expect(tmp_path, tree, **names)
        if tree.dataset == "visa":  # of which the table alone says what belongs to it
            places = {place for place in places if place in scan.unneeded}
        assert places <= set(scan.unneeded) and litter not in caplog.text

    def test_a_mask_without_its_ending(self, tmp_path, tree):
        if tree.plain_mask is None:
            pytest.skip("the data set has one way to name its masks")
        names = {"bad": tree.bad.format("x"), "bad_mask": tree.plain_mask.format("x")}
        build(tmp_path, tree, **names)
        expect(tmp_path, tree, **names)

    def test_an_empty_folder_of_defects(self, tmp_path, tree):
        names = {"bad": tree.bad.format("x"), "bad_mask": tree.mask.format("x")}
        part = build(tmp_path, tree, **names)
        (part / tree.empty).mkdir(parents=True)
        expect(tmp_path, tree, **names)
