"""MVTec AD's layout: the table of a good tree, its odd corners, and an error for each bad one."""

import hashlib
import logging
import re
import struct
import unicodedata
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from discrepancy.data import thread_map
from discrepancy.data.layouts import LAYOUTS, find_category, known_categories, read_mvtec, read_samples
from discrepancy.data.layouts.mvtec import scan_mvtec
from discrepancy.data.samples import SAMPLE_COLUMNS
from discrepancy.errors import InputError

REAL = Path(__file__).parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)


def photograph(path: Path, size=(8, 6), **options) -> Path:
    """Writes an image that no other image equals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path, **options)
    return path


def mask(path: Path, size=(8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 255).save(path)
    return path


@pytest.fixture
def part(tmp_path) -> Path:
    """A category folder in a data root."""
    folder = tmp_path / "part"
    photograph(folder / "train/good/000.png", (8, 6))
    photograph(folder / "train/good/001.png", (5, 7))
    photograph(folder / "test/good/000.png")
    photograph(folder / "test/crack/000.png", (4, 9))
    mask(folder / "ground_truth/crack/000_mask.png", (4, 9))
    return folder


def read(folder: Path) -> pd.DataFrame:
    return read_mvtec(folder, root=folder.parent)


def refused(folder: Path, *expected: str) -> None:
    """Reading fails with one message that holds all these texts."""
    with pytest.raises(InputError) as caught:
        read(folder)
    for text in expected:
        assert text in str(caught.value)


def test_the_table(part):
    rows = [
        ("part/test/crack/000.png", "part/ground_truth/crack/000_mask.png", "test", 1, "crack", 4, 9),
        ("part/test/good/000.png", "", "test", 0, "good", 8, 6),
        ("part/train/good/000.png", "", "train", 0, "good", 8, 6),
        ("part/train/good/001.png", "", "train", 0, "good", 5, 7),
    ]
    expected = pd.DataFrame(rows, columns=[name for name in SAMPLE_COLUMNS if name != "sha256"])
    expected["sha256"] = [hashlib.sha256((part.parent / row[0]).read_bytes()).hexdigest() for row in rows]
    found = read(part)
    pd.testing.assert_frame_equal(found, expected)
    assert list(found) == ["image", "mask", "split", "label", "defect", "width", "height", "sha256"]


@pytest.mark.parametrize("dataset", ["demo", "mvtec_ad", "folder"])
def test_each_dataset_is_read(part, dataset, monkeypatch):
    pd.testing.assert_frame_equal(read_samples(dataset, part.parent, "part"), read(part))
    monkeypatch.chdir(part.parent)
    pd.testing.assert_frame_equal(read_samples(dataset, Path("."), "part"), read(part))
    elsewhere = replace(LAYOUTS[dataset], scan=lambda folder: scan_mvtec(folder / "elsewhere"))
    monkeypatch.setitem(LAYOUTS, dataset, elsewhere)
    with pytest.raises(InputError, match="elsewhere"):
        read_samples(dataset, part.parent, "part")


def test_a_folder_may_be_the_category_itself(part):
    assert find_category("folder", part, "anything") == part
    assert read_samples("folder", part, "anything")["image"][0] == "test/crack/000.png"
    photograph(part / "inner/train/good/0.png")
    assert find_category("folder", part, "inner") == part / "inner"
    with pytest.raises(InputError, match=r"Category 'anything' was not found.*Categories there: inner"):
        find_category("mvtec_ad", part, "anything")


def test_odd_but_good_trees(part, caplog):
    photograph(part / "train/good/UPPER.PNG", (3, 3))
    photograph(part / "train/good/mit Leerzeichen ß.JPeG", (3, 3))
    (part / "train/good/link.png").symlink_to(photograph(part.parent / "elsewhere.png", (3, 2)))
    (part / "test/linked").symlink_to(part.parent / "far", target_is_directory=True)
    decomposed, composed = (unicodedata.normalize(form, "riß_ä") for form in ("NFD", "NFC"))
    photograph(part.parent / f"far/{decomposed}.bmp")
    mask(part / f"ground_truth/linked/{composed}_mask.TIF")
    photograph(part / "test/crack/plain name.webp")
    mask(part / "ground_truth/crack/plain name.bmp")
    for litter in ("train/good/.hidden.png", "train/good/Thumbs.db", "test/DESKTOP.INI", "test/.cache/a.png"):
        (part / litter).parent.mkdir(exist_ok=True)
        (part / litter).write_bytes(b"no image")
    (part / "license.txt").write_text("as MVTec AD has it")
    found = read(part)
    assert caplog.text == ""
    images = set(found["image"])
    assert {f"part/train/good/{name}" for name in ("UPPER.PNG", "mit Leerzeichen ß.JPeG", "link.png")} < images
    masks = dict(zip(found["image"], found["mask"], strict=True))
    assert masks[f"part/test/linked/{decomposed}.bmp"] == f"part/ground_truth/linked/{composed}_mask.TIF"
    assert masks["part/test/crack/plain name.webp"] == "part/ground_truth/crack/plain name.bmp"
    assert len(found) == 9


def test_the_label_comes_from_the_folder_not_from_the_mask(part):
    Image.new("L", (4, 9), 0).save(part / "ground_truth/crack/000_mask.png")
    assert read(part)["label"].tolist() == [1, 0, 0, 0]


def test_sizes_are_upright_and_masks_follow(part):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(part / "test/crack/000.png", (9, 4), exif=exif)
    assert read(part).loc[0, ["width", "height"]].tolist() == [4, 9]


def test_what_is_not_used_is_logged_once_by_name(part, caplog):
    (part / "train/good/notes.txt").write_text("no image")
    photograph(part / "train/rust/0.png")
    photograph(part / "train/good/more/0.png")
    photograph(part / "test/loose.png")
    mask(part / "ground_truth/crack/999_mask.png")
    mask(part / "ground_truth/crack/notes.md.png")
    mask(part / "ground_truth/good/000_mask.png")
    (part / "ground_truth/crack/readme").write_text("no image")
    photograph(part / "validation/0.png")
    (part / "test/empty").mkdir()
    with caplog.at_level(logging.WARNING):
        assert len(read(part)) == 4
    (record,) = caplog.records
    assert record.getMessage().startswith("9 entries are not used: part/ground_truth/crack/999_mask.png (a mask with")
    expected = {
        "ground_truth/crack/999_mask.png": "a mask without an image of a defect",
        "ground_truth/crack/notes.md.png": "a mask without an image of a defect",
        "ground_truth/crack/readme": "not an image by its suffix",
        "test/empty": "an empty folder",
        "test/loose.png": "not in test/<defect>",
        "train/good/more": "a folder among images",
        "train/good/notes.txt": "not an image by its suffix",
        "train/rust": "not in train/good",
        "validation": "not part of the layout",
    }
    assert scan_mvtec(part).ignored == {part / name: reason for name, reason in expected.items()}
    assert scan_mvtec(part).unneeded == {part / "ground_truth/good": "masks of good parts"}
    for name, reason in expected.items():
        assert f"part/{name} ({reason})" in record.getMessage()


def test_lossy_masks_are_named(part, caplog):
    for i in range(1, 6):
        photograph(part / f"test/crack/{i:03}.png")
        mask(part / f"ground_truth/crack/{i:03}_mask.JPG")
    assert len(read(part)) == 9
    (record,) = caplog.records
    assert record.getMessage().startswith(f"5 masks are JPEG files: {part / 'ground_truth/crack/001_mask.JPG'}, ")


def test_missing_folders(part, tmp_path):
    with pytest.raises(
        InputError, match=r"data root .*nowhere does not exist: expected a folder that holds part/train"
    ):
        find_category("mvtec_ad", tmp_path / "nowhere", "part")
    with pytest.raises(InputError, match=r"data root .*000\.png is not a folder"):
        find_category("folder", part / "train/good/000.png", "part")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"no folder .*/prat\. Categories there: part\.$"):
        find_category("mvtec_ad", tmp_path, "prat")
    with pytest.raises(InputError, match=r"no folder .*/part\. No folder there holds train/good\.$"):
        find_category("folder", tmp_path / "other", "part")
    (part / "test").rename(part / "tset")
    refused(part, f"The folder {part / 'test'} does not exist", "expected test/good and test/<defect>", "train, tset")
    (part / "train/good").rename(part / "train/goof")
    refused(part, f"The folder {part / 'train/good'} does not exist", "photographs of good parts", "lies: goof.")


def test_unknown_dataset(tmp_path):
    with pytest.raises(InputError, match=r"Unknown dataset 'mvtec': expected one of bottlecap, btad, demo, .*mvtec_ad"):
        read_samples("mvtec", tmp_path, "part")


@pytest.mark.parametrize("category", ["", ".", "..", "../part", "part/train", "/etc", "a\\b"])
def test_a_category_is_a_plain_name(part, category):
    with pytest.raises(InputError, match=r"category is .*expected the plain name of a folder"):
        find_category("folder", part.parent, category)


@pytest.mark.parametrize("dataset", ["folder", "mvtec_ad", "kolektor_sdd"])
def test_a_disk_may_hold_folders_that_nobody_can_read(part, tmp_path, monkeypatch, dataset):
    """`lost+found`, for one, at the root of a disk; other parts are listed all the same."""
    for name in ("lost+found", "private", "part/kos01"):
        (tmp_path / name).mkdir()
    listed = Path.iterdir

    def iterdir(folder):
        if folder.name in {"lost+found", "private"}:
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert known_categories(dataset, tmp_path) == ["part"]
    with pytest.raises(InputError, match="Categories there: part"):
        find_category(dataset, tmp_path, "prat")


def test_an_umlaut_may_be_one_character_or_two(tmp_path):
    """As archives packed on macOS unpack; both look the same."""
    one, two = (unicodedata.normalize(form, "Gehäuse") for form in ("NFC", "NFD"))
    photograph(tmp_path / two / "train/good/0.png")
    assert find_category("folder", tmp_path, one) == tmp_path / two
    photograph(tmp_path / one / "train/good/0.png")
    assert find_category("folder", tmp_path, one) == tmp_path / one


def test_what_a_file_server_leaves_beside_masks_is_no_kind_of_defect(tmp_path):
    """Synology makes `@eaDir` in every folder."""
    part = tmp_path / "part"
    photograph(part / "train/good/0.png")
    photograph(part / "test/scratch/1.png")
    mask(part / "ground_truth/1_mask.png")
    expected = read_samples("folder", tmp_path, "part")["mask"].tolist()
    (part / "ground_truth/@eaDir").mkdir()
    assert read_samples("folder", tmp_path, "part")["mask"].tolist() == expected
    assert expected == ["part/ground_truth/1_mask.png", ""]


def test_no_good_training_images(part):
    for path in (part / "train/good").iterdir():
        path.unlink()
    refused(part, f"{part / 'train/good'} holds no images: expected a folder of photographs of good parts", ".png")
    (part / "train/good/a.txt").write_text("no image")
    refused(part, f"{part / 'train/good'} holds no images")


def test_no_test_images(part):
    (part / "test/good/000.png").unlink()
    (part / "test/crack/000.png").unlink()
    refused(part, f"{part / 'test'} holds no images: expected test/good or test/<defect>")


def test_missing_masks_are_named_and_counted(part):
    (part / "ground_truth/crack/000_mask.png").unlink()
    expected = f"{part / 'test/crack/000.png'} (expected {part / 'ground_truth/crack/000_mask.png'})"
    refused(part, f"1 image of a defect has no mask: {expected}.")
    (part / "ground_truth/crack").rmdir()
    (part / "ground_truth").rmdir()
    for i in range(1, 6):
        photograph(part / f"test/crack/{i:03}.png")
    refused(part, f"6 images of defects have no mask: {expected}, ", "/002_mask.png) and 3 more.")


def test_a_mask_must_be_one_and_its_own(part):
    mask(part / "ground_truth/crack/000_mask.bmp", (4, 9))
    refused(part, f"{part / 'test/crack/000.png'} has 2 masks", "000_mask.bmp", "000_mask.png")
    (part / "ground_truth/crack/000_mask.bmp").unlink()
    mask(part / "ground_truth/crack/000.png", (1, 1))  # the suffix `_mask` decides
    assert read(part)["mask"][0] == "part/ground_truth/crack/000_mask.png"
    mask(part / "test/crack/000_mask.png", (4, 9))  # a mask laid beside its image
    refused(part, "test/crack/000.png and ", "test/crack/000_mask.png share the mask", "expected one mask for each")


@pytest.mark.parametrize("size", [(9, 4), (4, 8)])
def test_a_mask_of_another_size(part, size):
    mask(part / "ground_truth/crack/000_mask.png", size)
    refused(
        part,
        f"1 mask has another size than the image: {part / 'ground_truth/crack/000_mask.png'} is {size[0]} x {size[1]}, "
        "its image 000.png is 4 x 9. Expected the same width x height",
    )
    for i in range(1, 5):
        photograph(part / f"test/crack/{i:03}.png")
        mask(part / f"ground_truth/crack/{i:03}_mask.png", (2, 2))
    refused(part, "5 masks have another size", "and 2 more")


@pytest.mark.parametrize(
    "name", ["train/good/000.png", "test/good/000.png", "test/crack/000.png", "ground_truth/crack/000_mask.png"]
)
@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_a_file_that_is_no_image(part, name, content):
    (part / name).write_bytes(content)
    refused(part, f"{part / name} is not an image that can be read: expected a complete PNG")


def test_many_bad_files_are_named_and_counted(part, monkeypatch):
    monkeypatch.setattr(thread_map, "_BLOCK", 2)
    for i in range(6):
        (part / f"train/good/bad{i}.jpg").write_bytes(b"no image")
    refused(part, "bad0.jpg is not an image", "6 files cannot be read, also: ", "bad3.jpg and 2 more.")


def test_a_link_to_nothing(part):
    (part / "train/good/gone.png").symlink_to(part / "nothing.png")
    refused(part, f"{part / 'train/good/gone.png'} cannot be opened (No such file or directory)")


def test_an_image_in_train_and_test(part):
    (part / "train/good/001.png").write_bytes((part / "test/good/000.png").read_bytes())
    pair = f"{part / 'train/good/001.png'} = {part / 'test/good/000.png'}"
    refused(part, f"1 image stands both in training and in test (same bytes): {pair}. Expected test images that")
    (part / "train/good/000.png").write_bytes((part / "test/crack/000.png").read_bytes())
    refused(part, "2 images stand both", "test/crack/000.png", "test/good/000.png")


def test_copies_within_a_split_are_allowed(part):
    (part / "train/good/001.png").write_bytes((part / "train/good/000.png").read_bytes())
    (part / "test/good/001.png").write_bytes((part / "test/good/000.png").read_bytes())
    assert len(read(part)) == 5


@pytest.mark.parametrize("side", [9500, 40000])
def test_a_decompression_bomb_is_refused_without_a_warning(part, side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (part / "train/good/bomb.png").write_bytes(data + struct.pack(">I", 0) + b"IDAT" + bytes(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(part, "bomb.png has ", "pixels: expected at most 89,478,485")


def test_a_name_that_no_table_can_hold(part):
    photograph(part / "train/good/a.png").rename(part / "train/good/bad\udcff.png")
    refused(part, "not valid UTF-8", r"bad\udcff.png", "rename it")


TREES = st.dictionaries(
    st.sampled_from(["", "test", "train", "test/good", "train/good", "test/crack", "ground_truth/crack", "test/a b"]),
    st.sets(st.sampled_from(["0.png", "0_mask.png", "1.JPG", "2.bmp", "x.txt", ".hidden", "Thumbs.db", "sub/3.png"])),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_every_file_is_a_row_or_has_a_reason(tmp_path_factory, tree):
    part = tmp_path_factory.mktemp("tree") / "part"
    photograph(part / "train/good/base.png")
    photograph(part / "test/good/base.png")
    for folder, names in tree.items():
        for name in names:
            photograph(part / folder / name, format="PNG")
    try:
        scan = scan_mvtec(part)
        table = read(part)
    except InputError as error:
        assert re.search(r"no mask|share the mask|has 2 masks", str(error))
        return
    used = {part.parent / name for name in [*table["image"], *table["mask"]] if name}
    for file in part.rglob("*"):
        quiet = file.name in {".hidden", "Thumbs.db"} or file == part / "x.txt"
        known = file in used or any(path in scan.ignored for path in (file, *file.parents))
        assert file.is_dir() or known or quiet, file
        assert not (quiet and file in used | scan.ignored.keys()), file
    assert not used & scan.ignored.keys()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real inspection images are not here")
def test_real_data(caplog):
    table = read_samples("folder", REAL, "kolektorsdd")
    counts = table.groupby(["split", "defect", "label"]).size().to_dict()
    assert counts == {("train", "good", 0): 263, ("test", "good", 0): 70, ("test", "crack", 1): 50}
    assert set(table["width"]) == {256}
    assert set(table["height"]) == {640, 656}
    assert ((table["mask"] != "") == (table["label"] == 1)).all()
    leather = read_samples("mvtec_ad", REAL, "leather_sample")
    assert leather.groupby(["split", "label"]).size().to_dict() == {("train", 0): 4, ("test", 0): 4, ("test", 1): 11}
    assert set(leather.loc[leather["label"] == 1, "defect"]) == {"color", "cut", "fold", "glue", "poke"}
    assert caplog.text == ""
