"""BTAD, MVTec 3D-AD, KolektorSDD and VisA: trees in their published shapes, their odd corners, and bad ones."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from discrepancy.data.layouts import LAYOUTS, read_samples
from discrepancy.data.splits import split_validation
from discrepancy.errors import InputError

RNG = np.random.default_rng(0)


def photograph(path: Path, size=(8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


def mask(path: Path, value=255, size=(8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", size, 0)
    picture.putpixel((3, 2), value)
    picture.save(path)
    return path


def rows(table, *columns):
    """The table's rows as a set of tuples, paths without their category."""
    return {tuple(row) for row in table[list(columns)].itertuples(index=False)}


def scan(dataset, root, category):
    return LAYOUTS[dataset].scan(root / category)


@pytest.fixture
def btad(tmp_path) -> Path:
    photograph(tmp_path / "03/train/ok/0000.bmp")
    photograph(tmp_path / "03/test/ok/0001.BMP")
    photograph(tmp_path / "03/test/ko/0002.png")
    photograph(tmp_path / "03/test/ko/0003 größer.png")
    mask(tmp_path / "03/ground_truth/ko/0002.bmp")
    mask(tmp_path / "03/ground_truth/ko/0003 größer.png")
    mask(tmp_path / "03/ground_truth/ok/0001.png", 0)
    return tmp_path


def test_btad(btad, caplog):
    table = read_samples("btad", btad, "03")
    assert rows(table, "image", "mask", "split", "label", "defect") == {
        ("03/train/ok/0000.bmp", "", "train", 0, "good"),
        ("03/test/ok/0001.BMP", "", "test", 0, "good"),
        ("03/test/ko/0002.png", "03/ground_truth/ko/0002.bmp", "test", 1, "ko"),
        ("03/test/ko/0003 größer.png", "03/ground_truth/ko/0003 größer.png", "test", 1, "ko"),
    }
    assert scan("btad", btad, "03").unneeded == {btad / "03/ground_truth/ok": "masks of good parts"}
    assert caplog.text == ""


@pytest.fixture
def mvtec_3d(tmp_path) -> Path:
    part = tmp_path / "cable_gland"
    for split, name in (("train", "000"), ("validation", "000"), ("test", "007")):
        photograph(part / f"{split}/good/rgb/{name}.png")
        (part / f"{split}/good/xyz").mkdir()
        (part / f"{split}/good/xyz/{name}.tiff").write_bytes(b"a point cloud")
    mask(part / "test/good/gt/007.png", 0)
    photograph(part / "test/bent/rgb/000.png")
    mask(part / "test/bent/gt/000.png", 1)
    (part / "test/hole").mkdir()
    (part / "calibration").mkdir()
    photograph(part / "train/bent/rgb/000.png")
    return tmp_path


def test_mvtec_3d(mvtec_3d, caplog):
    table = read_samples("mvtec_3d", mvtec_3d, "cable_gland")
    assert rows(table, "image", "mask", "split", "label", "defect") == {
        ("cable_gland/train/good/rgb/000.png", "", "train", 0, "good"),
        ("cable_gland/validation/good/rgb/000.png", "", "validation", 0, "good"),
        ("cable_gland/test/good/rgb/007.png", "", "test", 0, "good"),
        ("cable_gland/test/bent/rgb/000.png", "cable_gland/test/bent/gt/000.png", "test", 1, "bent"),
    }
    part = mvtec_3d / "cable_gland"
    unneeded = {part / f"{split}/good/xyz" for split in ("train", "validation", "test")} | {part / "test/good/gt"}
    assert set(scan("mvtec_3d", mvtec_3d, "cable_gland").unneeded) == unneeded
    assert "2 entries are not used: cable_gland/calibration (not part of the layout)" in caplog.text
    assert "cable_gland/train/bent (not in train/good)" in caplog.text


def test_the_validation_split_of_mvtec_3d_is_kept(mvtec_3d):
    table = read_samples("mvtec_3d", mvtec_3d, "cable_gland")
    assert split_validation(table, minimum=1).equals(table)


def test_mvtec_3d_names_what_is_missing(mvtec_3d):
    (mvtec_3d / "cable_gland/test/bent/gt/000.png").rename(mvtec_3d / "cable_gland/test/bent/gt/001.png")
    with pytest.raises(InputError, match=r"1 image of a defect has no mask: .*rgb/000.png \(expected .*gt/000.png\)"):
        read_samples("mvtec_3d", mvtec_3d, "cable_gland")
    for path in (mvtec_3d / "cable_gland/validation/good/rgb").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="validation holds no images: expected validation/good/rgb"):
        read_samples("mvtec_3d", mvtec_3d, "cable_gland")


@pytest.fixture
def kolektor(tmp_path) -> Path:
    for item in range(1, 11):
        for part in range(3):
            photograph(tmp_path / f"kos{item:02d}/Part{part}.jpg")
            cracked = part == 1 and item % 2
            mask(tmp_path / f"kos{item:02d}/Part{part}_label.bmp", 255 if cracked else 0)
    photograph(tmp_path / "overview.png")
    return tmp_path


def test_kolektor_sdd(kolektor, caplog):
    table = read_samples("kolektor_sdd", kolektor, "commutators")
    assert len(table) == 30
    cracked = table[table["label"] == 1]
    assert rows(cracked, "split", "defect") == {("test", "crack")}
    assert set(cracked["image"]) == {f"kos{item:02d}/Part1.jpg" for item in range(1, 11, 2)}
    assert (cracked["mask"] == cracked["image"].str.replace(".jpg", "_label.bmp")).all()
    good = table[table["label"] == 0]
    assert (good["mask"] == "").all()
    items = good["image"].str[:5]
    assert len(set(items[good["split"] == "test"])) == 2 and len(set(items[good["split"] == "train"])) == 8
    assert not set(items[good["split"] == "test"]) & set(items[good["split"] == "train"])
    assert read_samples("kolektor_sdd", kolektor, "again").equals(table)  # the draw is fixed
    assert "1 entry is not used: overview.png (not part of the layout)" in caplog.text
    assert len(LAYOUTS["kolektor_sdd"].scan(kolektor).unneeded) == 25  # the black labels


def test_kolektor_sdd_names_what_is_missing(kolektor, tmp_path):
    (kolektor / "kos03/Part2_label.bmp").unlink()
    with pytest.raises(InputError, match=r"no mask: .*kos03/Part2.jpg \(expected .*Part2_label.bmp\)"):
        read_samples("kolektor_sdd", kolektor, "any")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no items: expected folders kos01"):
        read_samples("kolektor_sdd", tmp_path, "empty")


VISA = """object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0000.JPG,
candle,test,normal,candle/Data/Images/Normal/0001.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png
cashew,train,normal,cashew/Data/Images/Normal/0000.JPG,
"""


@pytest.fixture
def visa(tmp_path) -> Path:
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(VISA, encoding="utf-8")
    for name in ("Normal/0000", "Normal/0001", "Normal/0002", "Anomaly/000"):
        photograph(tmp_path / f"candle/Data/Images/{name}.JPG")
    mask(tmp_path / "candle/Data/Masks/Anomaly/000.png", 3)
    (tmp_path / "candle/image_anno.csv").write_text("as VisA has it")
    return tmp_path


def test_visa(visa, caplog):
    table = read_samples("visa", visa, "candle")
    images = "candle/Data/Images"
    assert rows(table, "image", "mask", "split", "label", "defect") == {
        (f"{images}/Normal/0000.JPG", "", "train", 0, "good"),
        (f"{images}/Normal/0001.JPG", "", "test", 0, "good"),
        (f"{images}/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png", "test", 1, "anomaly"),
    }
    assert f"{images}/Normal/0002.JPG (not in 1cls.csv)" in caplog.text
    assert "candle/image_anno.csv (not an image by its suffix)" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("object,", "thing,", r"lacks object: expected the columns object, split, label, image, mask"),
        ("candle,test,normal", "candle,proof,normal", r"line 3: split 'proof', label 'normal'; expected train or test"),
        ("candle,test,anomaly", "candle,test,odd", r"line 4: split 'test', label 'odd'"),
        (",candle/Data/Masks/Anomaly/000.png", ",", r"line 4: .*000.JPG is anomalous; expected a mask"),
        ("candle,test,anomaly", "candle,train,anomaly", r"line 4: .* expected a mask, and split test"),
        ("Normal/0001.JPG", "Normal/9999.JPG", r"names 1 files that do not exist: .*9999.JPG"),
        ("candle,train", "candles,train", r"no row of candle in split train"),
        ("candle/Data/Images/Normal/0001.JPG", "../secret.png", r"line 3: '../secret.png' leads out of"),
        ("candle/Data/Images/Normal/0001.JPG", "/etc/passwd", r"line 3: '/etc/passwd' leads out of"),
    ],
)
def test_visa_names_what_is_wrong(visa, old, new, said):
    table = visa / "split_csv/1cls.csv"
    assert old in VISA
    table.write_text(VISA.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_samples("visa", visa, "candle")


def test_links_that_lead_back_do_not_catch_the_reader(visa, caplog):
    (visa / "candle/Data/loop").symlink_to(visa / "candle", target_is_directory=True)
    assert len(read_samples("visa", visa, "candle")) == 3
    assert "candle/Data/loop (a link to a folder)" in caplog.text
    (visa / "candle/Data/Images/Normal").rename(visa / "elsewhere")
    (visa / "candle/Data/Images/Normal").symlink_to(visa / "elsewhere", target_is_directory=True)
    assert len(read_samples("visa", visa, "candle")) == 3


def test_visa_without_its_table(visa):
    (visa / "split_csv/1cls.csv").unlink()
    with pytest.raises(InputError, match=r"1cls.csv cannot be read .*expected VisA's table of splits"):
        read_samples("visa", visa, "candle")


@pytest.mark.parametrize("dataset", ["btad", "mvtec_3d", "visa", "kolektor_sdd"])
def test_a_wrong_category_is_refused_with_those_that_exist(dataset, request, tmp_path):
    fixture = {"kolektor_sdd": "kolektor"}.get(dataset, dataset)
    root = request.getfixturevalue(fixture)
    known = {"btad": "03", "mvtec_3d": "cable_gland", "visa": "candle"}.get(dataset)
    if known:
        with pytest.raises(InputError, match=f"'nuts' was not found.*Categories there: {known}"):
            read_samples(dataset, root, "nuts")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match=re.escape(f"No folder there holds {LAYOUTS[dataset].marker}")):
        read_samples(dataset, tmp_path / "bare", "nuts")


def test_odd_but_good_trees(btad, mvtec_3d, kolektor, visa, caplog):
    """All four stand in one folder here, with hidden files, litter and links: each reader sees its own."""
    root = btad
    assert root == mvtec_3d == kolektor == visa
    for folder in ("03/train/ok", "cable_gland/test/bent/rgb", "kos01", "candle/Data/Images/Normal"):
        (root / folder / ".hidden.png").write_bytes(b"no image")
        (root / folder / "Thumbs.db").write_bytes(b"no image")
    (root / "03/train/ok/link.png").symlink_to(photograph(root / "elsewhere.png"))
    assert "03/train/ok/link.png" in set(read_samples("btad", root, "03")["image"])
    assert len(read_samples("mvtec_3d", root, "cable_gland")) == 4
    assert len(read_samples("kolektor_sdd", root, "any")) == 30
    assert len(read_samples("visa", root, "candle")) == 3
    assert "hidden" not in caplog.text and "Thumbs" not in caplog.text
