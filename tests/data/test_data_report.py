"""A look before training: what is amiss is named with its file, and nothing else is."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from discrepancy.data import data_report as report_module
from discrepancy.data import data_report_tables
from discrepancy.data.data_report import EACH, build_report
from discrepancy.data.image_stats import image_stats, mask_stats
from discrepancy.data.images import ResizeCrop, image_array
from discrepancy.data.layouts import read_samples
from discrepancy.demo import render_category
from discrepancy.errors import InputError

SMALL = ResizeCrop((64, 64))


@pytest.fixture(scope="module")
def weave(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    render_category(root, "weave", size=96, train=24, test_good=6, test_defective=7)
    (root / "weave/.rendered.json").unlink()
    return root


@pytest.fixture
def part(weave, tmp_path) -> Path:
    """A copy to spoil; the category is `weave`."""
    shutil.copytree(weave / "weave", tmp_path / "photos/weave")
    return tmp_path / "photos"


def problems(root, resize_crop=SMALL):
    """(severity, problem, file without the category) of everything that is amiss."""
    table = build_report("folder", root, "weave", resize_crop).problems
    return {(row.severity, row.problem, row.file.removeprefix("weave/")) for row in table.itertuples()}


def first(folder: Path, number=0) -> Path:
    return sorted(folder.glob("*.png"))[number]


def test_nothing_is_amiss_with_sound_photographs(weave):
    found = build_report("folder", weave, "weave", SMALL)
    assert found.problems.empty and found.left_out.empty and not found.flagged
    assert set(found.files["image"]) == set(read_samples("folder", weave, "weave")["image"])
    assert list(found.thumbnails)[:2] == ["train good", "test good"] and len(found.thumbnails["train good"]) == EACH
    shown = found.thumbnails["test hole"][0]
    assert shown.picture.shape == (96, 96, 3) and shown.mask is not None and shown.mask.any()


def grey_noise(low, high):
    return np.random.default_rng(0).integers(low, high, (96, 96), dtype=np.uint8)


def spoil(part: Path, what: str) -> tuple[str, str, str]:  # noqa: PLR0911, PLR0912 (one return per kind of damage)
    """Do one thing to a sound part; what has to be said of it."""
    folder = part / "weave"
    train, test = first(folder / "train/good"), first(folder / "test/good")
    mask = first(folder / "ground_truth/hole")
    image = Image.open(train)
    if what == "blank":
        Image.new("RGB", (96, 96), (9, 9, 9)).save(train)
        return ("warning", "blank", "train/good/000.png")
    if what == "saturated":
        Image.fromarray(np.where(grey_noise(0, 10) < 8, 255, 90).astype(np.uint8)).convert("RGB").save(test)
        return ("warning", "saturated", "test/good/000.png")
    if what == "black":
        Image.fromarray(np.where(grey_noise(0, 10) < 8, 0, 90).astype(np.uint8)).convert("RGB").save(test)
        return ("warning", "saturated", "test/good/000.png")
    if what == "dark":
        ImageEnhance.Brightness(Image.open(test)).enhance(0.3).save(test)
        return ("warning", "unusual brightness", "test/good/000.png")
    if what == "size":
        image.resize((80, 96)).save(train)
        return ("warning", "unusual size", "train/good/000.png")
    if what == "kind":
        image.convert("L").save(train)
        return ("warning", "unusual kind of pixels", "train/good/000.png")
    if what == "not an image":
        train.write_text("hello")
        return ("error", "cannot be read", "train/good/000.png")
    if what == "truncated":
        test.write_bytes(test.read_bytes()[:2000])
        return ("error", "cannot be read", "test/good/000.png")
    if what == "bomb":
        Image.new("1", (10_000, 9_000)).save(train)
        return ("error", "cannot be read", "train/good/000.png")
    if what == "no mask":
        mask.unlink()
        return ("error", "no mask", "test/hole/000.png")
    if what == "two masks":
        shutil.copy(mask, mask.with_suffix(".bmp"))
        return ("error", "not clear", "test/hole/000.png")
    if what == "mask cannot be read":
        mask.write_text("hello")
        return ("error", "mask cannot be read", "ground_truth/hole/000_mask.png")
    if what == "mask of another size":
        Image.open(mask).resize((48, 48)).save(mask)
        return ("error", "mask of another size", "ground_truth/hole/000_mask.png")
    if what == "empty mask":
        Image.new("L", (96, 96)).save(mask)
        return ("warning", "empty mask", "ground_truth/hole/000_mask.png")
    if what == "inverted mask":
        Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
        return ("warning", "mask marks most of it", "ground_truth/hole/000_mask.png")
    if what == "tiny defect":
        tiny = np.zeros((96, 96), np.uint8)
        tiny[1, 1] = 255  # between the pixels that nearest neighbour takes
        Image.fromarray(tiny).save(mask)
        return ("warning", "defect lost", "ground_truth/hole/000_mask.png")
    if what == "leak":
        shutil.copy(train, folder / "test/good/100.png")
        return ("error", "in training and in test", "test/good/100.png")
    if what == "copy":
        shutil.copy(train, folder / "train/good/100.png")
        return ("warning", "a copy", "train/good/100.png")
    if what == "good and defective":
        shutil.copy(test, folder / "test/hole/100.png")
        shutil.copy(mask, folder / "ground_truth/hole/100_mask.png")
        return ("warning", "good and defective", "test/hole/100.png")
    assert what == "lossy mask"
    Image.open(mask).save(mask.with_suffix(".jpg"))
    mask.unlink()
    return ("warning", "lossy mask", "ground_truth/hole/000_mask.jpg")


KINDS = [
    "blank", "saturated", "black", "dark", "size", "kind", "not an image", "truncated", "bomb", "no mask", "two masks",
    "mask cannot be read", "mask of another size", "empty mask", "inverted mask", "tiny defect", "leak", "copy",
    "good and defective", "lossy mask",
]  # fmt: skip


@pytest.mark.parametrize("what", KINDS)
def test_each_problem_is_named_with_its_file_and_no_other_is(part, what):
    expected = spoil(part, what)
    assert problems(part) == {expected}
    refuses = False
    try:
        table = read_samples("folder", part, "weave")
        image_array(table, part, (8, 8)).to_numpy()
    except InputError:
        refuses = True
    assert refuses == (expected[0] == "error")  # `error` means: no run begins


def saved_again(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


@pytest.mark.parametrize(
    "change",
    [saved_again, lambda image: image.resize((70, 70)), lambda image: ImageEnhance.Brightness(image).enhance(1.1)],
    ids=["compressed", "rescaled", "brighter"],
)
def test_a_near_duplicate_of_a_training_image_is_found(part, change):
    image = Image.open(first(part / "weave/train/good", 3))
    change(image).save(part / "weave/test/good/100.png")
    table = build_report("folder", part, "weave", SMALL).problems.set_index("problem")
    assert table.loc["nearly the same", "file"] == "weave/test/good/100.png"
    assert table.loc["nearly the same", "detail"].startswith("as weave/train/good/003.png, which is trained on")


def test_the_mean_good_image_is_that_of_the_training_images(weave, monkeypatch):
    """It is taken off before two photographs are compared."""
    given = []
    monkeypatch.setattr(report_module, "near_duplicates", lambda _, __, mean, ___: given.append(mean) or [])
    build_report("folder", weave, "weave", SMALL)
    thumbnails = [image_stats(path).thumbnail for path in (weave / "weave/train/good").iterdir()]
    np.testing.assert_allclose(given[0], np.mean(thumbnails, axis=0))


def test_the_other_mask_of_two_is_named(part):
    spoil(part, "two masks")
    left = build_report("folder", part, "weave", SMALL).left_out.set_index("file")["reason"]
    assert left["weave/ground_truth/hole/000_mask.png"] == "one more mask of 000.png"


def test_the_category_as_a_whole(tmp_path):
    for i in range(3):
        path = tmp_path / f"cap/good/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 90, 3), dtype=np.uint8)).save(path)
    found = build_report("folder", tmp_path, "cap", ResizeCrop((64, 64)))
    notes = found.problems.set_index("problem")
    assert set(notes.index) == {"few good images", "no defective test images", "shape changes"}
    assert set(notes["severity"]) == {"note"} and set(notes["file"]) == {""}
    assert "a factor of 2.25; image_size=64x144 keeps it" in notes.loc["shape changes", "detail"]
    assert (
        build_report("folder", tmp_path, "cap", ResizeCrop((64, 144))).problems["problem"].tolist()
        == notes.index.tolist()[:2]
    )


def test_what_is_left_out_is_named_with_the_reason(part):
    folder = part / "weave"
    for name in ("train/good/Thumbs.db", "train/good/.hidden.png", "train/good/notes.txt"):
        (folder / name).write_text("x")
    (folder / "test/empty").mkdir()
    shutil.copy(first(folder / "ground_truth/hole"), folder / "ground_truth/hole/999_mask.png")
    left = build_report("folder", part, "weave", SMALL).left_out
    assert dict(zip(left["file"].str.removeprefix("weave/"), left["reason"], strict=True)) == {
        "train/good/Thumbs.db": "hidden, or of a file manager",
        "train/good/.hidden.png": "hidden, or of a file manager",
        "train/good/notes.txt": "not an image by its suffix",
        "test/empty": "an empty folder",
        "ground_truth/hole/999_mask.png": "a mask without an image of a defect",
    }


def test_folders_of_no_layout_are_refused(tmp_path):
    (tmp_path / "part/train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"train/good does not exist"):
        build_report("folder", tmp_path, "part", SMALL)


def test_facts_of_an_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "a.png")
    stats = image_stats(tmp_path / "a.png")
    assert (stats.width, stats.height, stats.mode) == (50, 30, "I;16")
    assert stats.mean == pytest.approx(pixels.mean()) and stats.deviation == pytest.approx(pixels.std())
    assert stats.dark == pytest.approx((pixels <= 1).mean()) and stats.bright == pytest.approx((pixels >= 254).mean())
    assert stats.kilobytes == (tmp_path / "a.png").stat().st_size / 1024


def test_facts_of_a_mask(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[18:22, 10:30] = 7
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert mask_stats(tmp_path / "m.png", ResizeCrop((40, 40))).coverage == 80 / 1600
    assert mask_stats(tmp_path / "m.png", ResizeCrop((20, 20), (4, 20))).kept
    mask[:] = 0
    mask[0, 0] = 1
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert not mask_stats(tmp_path / "m.png", ResizeCrop((40, 40), (20, 20))).kept


def test_tables(weave):
    found = build_report("folder", weave, "weave", SMALL)
    counts = data_report_tables.counts(found).set_index(["split", "defect"])
    assert counts.index.tolist()[:2] == [("train", "good"), ("test", "good")]
    assert counts.loc[("train", "good"), ["images", "masks"]].tolist() == [24, 0]
    assert counts.loc[("test", "hole"), ["images", "masks"]].tolist() == [1, 1]
    size = sum(path.stat().st_size for path in (weave / "weave/train/good").iterdir())
    assert counts.loc[("train", "good"), "megabytes"] == pytest.approx(size / 2**20)
    assert data_report_tables.kinds(found).to_dict("records") == [
        {"width": 96, "height": 96, "mode": "RGB", "images": 37}
    ]
    (path,) = (weave / "weave/ground_truth/hole").iterdir()
    share = float((np.asarray(Image.open(path)) > 0).mean())
    line = data_report_tables.coverage(found).set_index("defect").loc["hole"]
    pd.testing.assert_series_equal(
        line, pd.Series({"masks": 1, "least": share, "median": share, "most": share, "lost": 0}, name="hole"),
        check_dtype=False,
    )  # fmt: skip
