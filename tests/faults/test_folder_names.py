"""Folders whose names mean good parts, masks or nothing are understood, or refused: none becomes a kind of defect."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from discrepancy.data.data_report import build_report
from discrepancy.data.images import ResizeCrop
from discrepancy.data.layouts import find_category, known_categories, read_samples
from discrepancy.data.layouts.names import means_good, means_litter, means_masks
from discrepancy.errors import InputError

RNG = np.random.default_rng(0)


def put(root, *names, count=3):
    """Photographs, no two alike, or masks with a small mark."""
    for name in names:
        for index in range(count):
            path = root / f"gear/{name}".format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
            if "mask" in name.lower() or "truth" in name.lower():
                noise = np.zeros((8, 8), np.uint8)
                noise[2:4, 2:5] = 255
            Image.fromarray(noise).save(path)


def kinds(root, dataset="folder"):
    """Numbers of images by label and kind, of masks, and the splits of the good ones."""
    table = read_samples(dataset, root, "gear")
    counted = table.groupby(["label", "defect"]).size().to_dict()
    return counted, int((table["mask"] != "").sum()), table.loc[table["label"] == 0, "split"].value_counts().to_dict()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("normal", "anomaly"),
        ("normal", "abnormal"),
        ("good", "bad"),
        ("ok", "ng"),
        ("OK", "NG"),
        ("Good", "defect"),
        ("GOOD", "scratch"),
        ("GoodParts", "bad parts"),
        ("01_good", "02_scratch"),
        ("O.K.", "n.o.k."),
        ("defect-free", "not ok"),
        ("良品", "不良品"),
    ],
)
def test_good_beside_bad_is_read_whatever_they_are_called(tmp_path, caplog, good, bad):
    put(tmp_path, f"{good}/{{}}.png", count=10)
    put(tmp_path, f"{bad}/1{{}}.png")
    caplog.set_level(logging.INFO)
    assert kinds(tmp_path) == ({(0, "good"): 10, (1, bad): 3}, 0, {"train": 8, "test": 2})
    assert (f"gear/{good} is taken for 'good'" in caplog.text) == (good != "good")
    assert known_categories("folder", tmp_path) == ["gear"]
    assert find_category("folder", tmp_path / "gear", "any name") == tmp_path / "gear"


@pytest.mark.parametrize(
    ("train", "tested", "bad"),
    [
        ("train/ok", "test/ok", "test/ng"),
        ("Train/Good", "Test/Good", "Test/Scratch"),
        ("train/good", "test/OK", "test/NG"),
        ("training/normal", "testing/normal", "testing/anomaly"),
        ("train/good", "test/Good", "test/scratch"),
    ],
)
@pytest.mark.parametrize("dataset", ["folder", "bottlecap"])
def test_splits_and_good_parts_are_understood(tmp_path, caplog, dataset, train, tested, bad):
    put(tmp_path, f"{train}/{{}}.png", f"{tested}/1{{}}.png", f"{bad}/2{{}}.png")
    caplog.set_level(logging.INFO)
    kind = bad.split("/")[1]
    assert kinds(tmp_path, dataset) == ({(0, "good"): 6, (1, kind): 3}, 0, {"train": 3, "test": 3})
    assert f"gear/{tested} is taken for 'good'" in caplog.text or tested.endswith("/good")
    assert known_categories(dataset, tmp_path) == ["gear"]


@pytest.mark.parametrize("good", ["Good", "OK", "normal"])
def test_mvtec_ad_calls_no_good_part_defective(tmp_path, good):
    put(tmp_path, "train/good/{}.png", f"test/{good}/1{{}}.png", "test/scratch/2{}.png")
    put(tmp_path, "ground_truth/scratch/2{}_mask.png")
    assert kinds(tmp_path, "mvtec_ad")[0] == {(0, "good"): 6, (1, "scratch"): 3}


def test_mvtec_3d_calls_no_good_part_defective(tmp_path):
    put(tmp_path, "train/good/rgb/{}.png", "validation/good/rgb/1{}.png", "test/Good/rgb/2{}.png")
    assert kinds(tmp_path, "mvtec_3d")[0] == {(0, "good"): 9}


@pytest.mark.parametrize("masks", ["masks", "Mask", "gt", "GT", "label", "labels", "Ground_Truth", "ground truth"])
@pytest.mark.parametrize("kind", ["", "scratch/"])
@pytest.mark.parametrize("end", ["", "_mask"])
def test_masks_are_found_by_the_name_of_their_folder(tmp_path, caplog, masks, kind, end):
    put(tmp_path, "good/{}.png", "scratch/1{}.png")
    put(tmp_path, f"mask/{kind}1{{}}{end}.png")
    shutil.move(tmp_path / "gear/mask", tmp_path / "gear" / masks)
    caplog.set_level(logging.INFO)
    assert kinds(tmp_path)[:2] == ({(0, "good"): 3, (1, "scratch"): 3}, 3)
    assert f"gear/{masks} is taken for masks" in caplog.text


@pytest.mark.parametrize("place", ["masks", "test/masks", "test/gt", "Ground_Truth"])
def test_masks_beside_splits_are_found(tmp_path, place):
    put(tmp_path, "train/good/{}.png", "test/good/1{}.png", "test/scratch/2{}.png", "mask/scratch/2{}.png")
    shutil.move(tmp_path / "gear/mask", tmp_path / "gear" / place)
    assert kinds(tmp_path)[:2] == ({(0, "good"): 6, (1, "scratch"): 3}, 3)


def test_masks_that_fit_no_image_are_refused(tmp_path):
    put(tmp_path, "good/{}.png", "scratch/1{}.png", "masks/7{}.png")
    with pytest.raises(InputError, match=r"3 images of defects have no mask.*masks/10_mask\.png"):
        kinds(tmp_path)


def test_a_defect_may_be_called_label_where_its_masks_are_called_so(tmp_path):
    put(tmp_path, "good/{}.png", "label/1{}.png", "ground_truth/label/1{}.png")
    assert kinds(tmp_path)[:2] == ({(0, "good"): 3, (1, "label"): 3}, 3)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["good/{}.png", "scratch/1{}.png", "masks/1{}.png", "gt_mask/1{}.png"], "may hold the masks"),
        (["good/{}.png", "scratch/1{}.png", "ground_truth/scratch/1{}.png", "mask/1{}.png"], "means masks"),
        (["good/{}.png", "OK/1{}.png", "scratch/2{}.png"], "means good parts, as good beside it"),
        (["normal/{}.png", "OK/1{}.png", "scratch/2{}.png"], "several folders mean 'good': OK, normal"),
        (["good/{}.png", "test/1{}.png"], r"test stands beside good: expected .* train/good"),
        (["good/{}.png", "val/1{}.png"], "val stands beside good"),
        (["train/good/{}.png", "test/good/1{}.png", "test/ok/2{}.png"], "means good parts"),
        (["good/{}.png", "scratch/1{}.png", "scratch/1{}_mask.png"], "is called the mask of an image beside it"),
        (["good/{}.png", "good/{}_mask.png"], "is called the mask of an image beside it"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, names, words):
    put(tmp_path, *names)
    with pytest.raises(InputError, match=words):
        kinds(tmp_path)


@pytest.mark.parametrize("litter", ["Thumbs", "__MACOSX", ".ipynb_checkpoints", "@eaDir", "$RECYCLE.BIN", "thumbnails"])
def test_litter_is_no_kind_of_defect(tmp_path, caplog, litter):
    put(tmp_path, "good/{}.png", "scratch/1{}.png", f"{litter}/2{{}}.png")
    assert kinds(tmp_path)[0] == {(0, "good"): 3, (1, "scratch"): 3}
    assert litter.startswith(".") or f"gear/{litter} (of a file manager" in caplog.text
    shutil.move(tmp_path / "gear/good", tmp_path / "gear/train/good")
    put(tmp_path, "test/good/3{}.png", f"test/{litter}/4{{}}.png")
    assert kinds(tmp_path)[0] == {(0, "good"): 6}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train/good/{}.png", "test/scratch/1{}.png"], "no good test images"),
        (["train/good/{}.png", "test/good/1{}.png"], "no defective test images"),
        (["good/{}.png"], "no defective test images"),
        (["train/good/{}.png", "test/fine/1{}.png", "test/scratch/2{}.png"], "no good test images"),
    ],
)
def test_a_run_warns_of_a_test_split_without_one_kind(tmp_path, caplog, names, words):
    put(tmp_path, *names)
    read_samples("folder", tmp_path, "gear")
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [words in text for text in warned] == [True]


def test_inspection_says_how_names_were_understood(tmp_path):
    put(tmp_path, "OK/{}.png", "NG/1{}.png")
    problems = build_report("folder", tmp_path, "gear", ResizeCrop((8, 8))).problems.set_index("file")
    assert problems.loc["gear/OK", ["severity", "detail"]].tolist() == ["note", "is taken for 'good'"]


@pytest.mark.parametrize("name", ["not ok", "no good", "good_but_dusty", "01", "", "ng", "label_missing", "thumbprint"])
def test_other_names_mean_what_they_are(name):
    assert not means_good(name) and not means_masks(name) and not means_litter(name)
