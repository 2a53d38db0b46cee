"""Folders of pictures: what is saved comes back; a crash, and a name that leads elsewhere, leave nothing."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from kedro.io import DatasetError, Version
from PIL import Image

from discrepancy.datasets import PicturesDataset
from discrepancy.datasets import pictures as module

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
COLOURS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)


@pytest.fixture
def dataset(tmp_path):
    return PicturesDataset(filepath=str(tmp_path / "out/x"), version=Version(None, "v1"))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_pictures_come_back_under_their_names(dataset, tmp_path):
    assert not dataset.exists()
    dataset.save((name, picture) for name, picture in [("b/Größe 1.png", COLOURS), ("a.png", GREY)])
    loaded = dataset.load()
    assert list(loaded) == ["a.png", "b/Größe 1.png"] and dataset.exists()
    assert loaded["a.png"] == str(tmp_path / "out/x/v1/x/a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(loaded["a.png"])), GREY)
    np.testing.assert_array_equal(np.asarray(Image.open(loaded["b/Größe 1.png"])), COLOURS)
    assert files(tmp_path / "out") == ["x", "x/v1", "x/v1/x", "x/v1/x/a.png", "x/v1/x/b", "x/v1/x/b/Größe 1.png"]


def test_bytes_are_the_content_of_the_file(dataset, tmp_path):
    dataset.save([("a.gif", b"GIF89a"), ("b.png", b"x")])
    assert [Path(path).read_bytes() for path in dataset.load().values()] == [b"GIF89a", b"x"]
    later = PicturesDataset(filepath=str(tmp_path / "out/x"), version=Version(None, "v2"))
    with pytest.raises(DatasetError, match=r"c.gif: expected bytes, found uint8 \[3, 4\]"):
        later.save([("c.gif", GREY)])


def test_each_version_has_its_own_folder_and_the_latest_is_loaded(dataset, tmp_path):
    dataset.save([("a.png", GREY)])
    with pytest.raises(DatasetError, match="must not exist"):
        dataset.save([("b.png", GREY)])
    later = PicturesDataset(filepath=str(tmp_path / "out/x"), version=Version(None, "v2"))
    later.save([("b.png", GREY)])
    assert list(later.load()) == ["b.png"]
    assert list(PicturesDataset(filepath=str(tmp_path / "out/x"), version=Version("v1", None)).load()) == ["a.png"]


def test_nothing_half_written_is_left(dataset, tmp_path):
    def torn():
        yield "a.png", GREY
        raise RuntimeError("torn")

    with pytest.raises(DatasetError, match="torn"):
        dataset.save(torn())
    assert files(tmp_path) == ["out", "out/x"] and not dataset.exists()
    dataset.save([("a.png", GREY)])
    assert list(dataset.load()) == ["a.png"]


def test_the_folder_has_its_name_only_when_it_is_whole(dataset, tmp_path):
    seen = []

    def watched():
        for i in range(40):  # more than wait to be written
            yield f"{i}.png", GREY
            seen.append((tmp_path / "out/x/v1/x").exists())

    dataset.save(watched())
    assert seen == [False] * 40 and len(dataset.load()) == 40


@pytest.mark.parametrize("name", ["../a.png", "b/../../a.png", "/tmp/a.png", "a.jpg", ""])
def test_names_that_leave_the_folder_are_refused(dataset, tmp_path, name):
    with pytest.raises(DatasetError, match=r"expected a \.png, \.tiff or \.gif file name inside"):
        dataset.save([("fine.png", GREY), (name, GREY)])
    assert files(tmp_path) == ["out", "out/x"]


@pytest.mark.parametrize("picture", [GREY.astype(np.float32), COLOURS[..., :2], COLOURS[0, 0]])
def test_what_is_no_picture_is_refused(dataset, tmp_path, picture):
    with pytest.raises(DatasetError, match=r"a\.png: expected uint8"):
        dataset.save([("a.png", picture), *((f"{i}.png", GREY) for i in range(500))])
    assert files(tmp_path) == ["out", "out/x"]


def test_two_pictures_of_one_name_are_refused(dataset):
    with pytest.raises(DatasetError, match=r"File exists.*a\.png"):
        dataset.save([("a.png", GREY), ("a.png", COLOURS)])


@pytest.mark.filterwarnings("error")
def test_no_pictures_are_saved_without_a_word_and_hide_older_ones(dataset, tmp_path):
    dataset.save([("a.png", GREY)])
    later = PicturesDataset(filepath=str(tmp_path / "out/x"), version=Version(None, "v2"))
    later.save(())
    assert later.load() == {}


def test_few_pictures_wait_in_memory(dataset, monkeypatch):
    """Encoding stands still: drawing stops after a few pictures, and goes on when it moves again."""
    gate, drawn, count = threading.Event(), [], 200
    write = module._write
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    monkeypatch.setattr(module, "_write", lambda path, picture: gate.wait(10) and write(path, picture))

    def pictures():
        for i in range(count):
            drawn.append(i)
            yield f"{i}.png", GREY

    saving = threading.Thread(target=dataset.save, args=(pictures(),))
    saving.start()
    deadline = time.monotonic() + 10
    while len(drawn) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    held = len(drawn)
    gate.set()
    saving.join(30)
    assert held == 5 and len(dataset.load()) == count


def test_maps_come_back_as_they_are(dataset):
    """Raw values, above 1 and below 0, as 32-bit TIFF files that Pillow and OpenCV read."""
    values = np.random.default_rng(0).normal(0, 100, (5, 7)).astype(np.float32)
    dataset.save([("cap/test/a.tiff", values)])
    (path,) = dataset.load().values()
    np.testing.assert_array_equal(np.asarray(Image.open(path)), values)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), values)


@pytest.mark.parametrize("picture", [GREY, GREY.astype(np.float64), np.zeros((3, 4, 3), np.float32)])
def test_other_arrays_are_no_maps(dataset, picture):
    with pytest.raises(DatasetError, match=r"a\.tiff: expected float32 \[H, W\], found"):
        dataset.save([("a.tiff", picture)])
