"""Photographs of one's own: with and without masks, with and without train and test."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from discrepancy.data.layouts import find_category, read_samples
from discrepancy.errors import InputError

RNG = np.random.default_rng(0)


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def plain(tmp_path) -> Path:
    for i in range(10):
        photograph(tmp_path / f"cap/good/{i}.JPG")
    photograph(tmp_path / "cap/dent/0.jpg")
    photograph(tmp_path / "cap/no label/1.png")
    return tmp_path


@pytest.fixture
def split(tmp_path) -> Path:
    for name in ("train/good/0", "train/good/1", "test/good/0", "test/dent/0", "test/dent/1"):
        photograph(tmp_path / f"cap/{name}.png")
    return tmp_path


def test_good_beside_defects(plain, caplog):
    photograph(plain / "cap/loose.png")
    table = read_samples("folder", plain, "cap")
    good, bad = table[table["label"] == 0], table[table["label"] == 1]
    assert good["split"].value_counts().to_dict() == {"train": 8, "test": 2} and set(good["defect"]) == {"good"}
    assert set(bad["image"]) == {"cap/dent/0.jpg", "cap/no label/1.png"}
    assert set(bad["split"]) == {"test"} and set(bad["defect"]) == {"dent", "no label"} and set(table["mask"]) == {""}
    assert read_samples("folder", plain, "cap").equals(table)  # the draw is fixed
    assert "cap/loose.png" in caplog.text


def test_masks_beside_them_are_found(plain):
    for name in ("dent/0.png", "no label/1_mask.png"):
        photograph(plain / "cap/ground_truth" / name)
    table = read_samples("folder", plain, "cap").set_index("image")
    assert table.loc["cap/dent/0.jpg", "mask"] == "cap/ground_truth/dent/0.png"
    assert table.loc["cap/no label/1.png", "mask"] == "cap/ground_truth/no label/1_mask.png"


def test_the_folder_itself_may_be_the_category(plain):
    assert find_category("folder", plain / "cap", "anything") == plain / "cap"


@pytest.mark.parametrize("dataset", ["folder", "bottlecap"])
def test_a_split_tree_without_masks(split, dataset):
    table = read_samples(dataset, split, "cap")
    assert table["label"].sum() == 2 and set(table["mask"]) == {""}
    assert (table["split"] == "train").sum() == 2


def test_some_masks_are_not_enough(split):
    photograph(split / "cap/ground_truth/dent/0.png")
    with pytest.raises(InputError, match=r"no mask: .*dent/1.png .*, or no folder ground_truth at all"):
        read_samples("folder", split, "cap")
    with pytest.raises(InputError, match=r"no mask: .*dent/1_mask.png\)\.$"):
        read_samples("mvtec_ad", split, "cap")


def test_mvtec_ad_needs_its_masks(split):
    with pytest.raises(InputError, match="2 images of defects have no mask"):
        read_samples("mvtec_ad", split, "cap")


def test_one_good_image_is_not_enough(tmp_path):
    photograph(tmp_path / "cap/good/0.png")
    with pytest.raises(InputError, match=r"good holds 1 images: .* two at least"):
        read_samples("folder", tmp_path, "cap")
