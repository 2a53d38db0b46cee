"""Arrays are written without memory for them, never die of a full disk, and are kept under their fingerprint."""

import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError

from discrepancy.data.lazy_array import LazyArray, computed_chunks
from discrepancy.datasets import ArrayDataset
from discrepancy.errors import InputError
from discrepancy.npy import same_file

FLOAT = np.dtype(np.float32)


@pytest.fixture
def dataset(tmp_path):
    return ArrayDataset(filepath=str(tmp_path / "images.npy"))


@pytest.fixture
def made():
    """How often pieces were asked for."""
    return []


def recipe(made, *, value=1.0, fingerprint="abc", shape=(6, 4), dtype=FLOAT):
    def chunks():
        made.append(fingerprint)
        yield np.full(shape, value, dtype)

    return LazyArray(shape, np.dtype(dtype), chunks, fingerprint)


@pytest.mark.parametrize(
    "array",
    [
        np.float64(3.5),
        np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),
        np.array(["2024-01-01", "NaT"], "datetime64[D]"),
        np.arange(40_000.0)[::2].reshape(100, 200) > 1e4,
        np.zeros((3, 0, 2), np.uint8),
    ],
    ids=["one number", "a view", "dates", "bool", "no columns"],
)
def test_any_array_comes_back(dataset, array, monkeypatch):
    monkeypatch.setattr("discrepancy.datasets.npy.MAX_CHUNK_BYTES", 1000)
    dataset.save(np.asarray(array))
    loaded = dataset.load()
    assert loaded.dtype == array.dtype and loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


def test_objects_are_refused(dataset):
    with pytest.raises(DatasetError, match="plain numbers"):
        dataset.save(np.array([{}, None]))
    assert not dataset.exists()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
def test_what_was_written_does_not_stay_in_memory(dataset):
    resident = []

    def chunks():
        for _ in range(64):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append(pages * os.sysconf("SC_PAGESIZE"))
            yield np.ones((1, 2**20), np.uint8)

    dataset.save(LazyArray((64, 2**20), np.dtype(np.uint8), chunks))
    assert resident[-1] - resident[0] < 16 * 2**20  # of 64 MiB
    assert dataset.load()[:, ::4096].all()


@pytest.mark.parametrize("chunk", [4, 1000])
def test_a_full_disk_is_an_error_that_leaves_the_old_array(dataset, tmp_path, chunk):
    resource = pytest.importorskip("resource")
    dataset.save(np.arange(3))

    def chunks():
        return computed_chunks(lambda item, row: row.fill(item), range(1000), shape=(1000,), dtype=FLOAT, chunk=chunk)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DatasetError, match="expected more room") as caught:
            dataset.save(LazyArray((1000, 1000), FLOAT, chunks))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, InputError)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    np.testing.assert_array_equal(dataset.load(), np.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_errors_of_the_pieces_are_left_as_they_are(dataset):
    def chunks():
        raise FileNotFoundError("photograph.png")
        yield

    with pytest.raises(FileNotFoundError, match=r"^photograph.png$"):
        dataset.save(LazyArray((1, 1), FLOAT, chunks))


def test_an_array_of_the_same_fingerprint_is_not_made_again(dataset, made, caplog):
    dataset.save(recipe(made))
    before = dataset._filepath.stat()
    with caplog.at_level(logging.INFO, logger="discrepancy"):
        dataset.save(recipe(made, value=2.0))
    assert made == ["abc"] and same_file(dataset._filepath.stat(), before) and (dataset.load() == 1).all()
    assert caplog.messages == ["images: 6 from an earlier run"]


@pytest.mark.parametrize(
    "other",
    [{"fingerprint": "abd"}, {"shape": (4, 6)}, {"shape": (5, 4)}, {"dtype": np.int32}, {"fingerprint": None}],
    ids=str,
)
def test_another_array_is_made(dataset, made, other):
    dataset.save(recipe(made))
    dataset.save(recipe(made, value=2.0, **other))
    array = dataset.load()
    assert len(made) == 2 and (array == 2).all()
    assert (array.shape, array.dtype) == (other.get("shape", (6, 4)), other.get("dtype", FLOAT))


def test_an_array_without_a_fingerprint_is_always_made_and_leaves_no_card(dataset, made, tmp_path):
    dataset.save(recipe(made))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "images.npy.json"]
    for value in (2.0, 3.0):
        dataset.save(recipe(made, value=value, fingerprint=None))
        assert (dataset.load() == value).all() and [path.name for path in tmp_path.iterdir()] == ["images.npy"]
    dataset.save(recipe(made))
    assert (dataset.load() == 1).all() and len(made) == 4


def _cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def _lengthen(path):
    with path.open("ab") as file:
        file.write(b"x")


def _change_by_hand(path):
    np.save(path, np.full((6, 4), 5, FLOAT))
    os.utime(path, ns=(0, 7))


@pytest.mark.parametrize("damage", [_cut, _lengthen, _change_by_hand, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_not_the_one_that_was_written_is_replaced(dataset, made, damage):
    dataset.save(recipe(made))
    damage(dataset._filepath)
    dataset.save(recipe(made))
    assert len(made) == 2 and (dataset.load() == 1).all()
    dataset.save(recipe(made))
    assert len(made) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"fingerprint": "abc"}'])
def test_a_damaged_card_vouches_for_nothing(dataset, made, tmp_path, text):
    dataset.save(recipe(made))
    (tmp_path / "images.npy.json").write_text(text)
    dataset.save(recipe(made))
    assert len(made) == 2


def test_a_torn_array_leaves_the_old_one_and_its_card(dataset, made):
    dataset.save(recipe(made))

    def chunks():
        yield np.zeros((3, 4), FLOAT)
        raise RuntimeError("torn")

    with pytest.raises(DatasetError, match="torn"):
        dataset.save(LazyArray((6, 4), FLOAT, chunks, "other"))
    dataset.save(recipe(made))
    assert made == ["abc"] and (dataset.load() == 1).all()


def test_the_card_is_gone_before_the_array_is_replaced(dataset, made, tmp_path, monkeypatch):
    dataset.save(recipe(made))
    there = []
    replace = os.replace

    def watched(source, target):
        if target.suffix == ".json":
            return replace(source, target)
        there.append((tmp_path / "images.npy.json").exists())
        replace(source, target)
        return there.append((tmp_path / "images.npy.json").exists())

    monkeypatch.setattr("discrepancy.atomic.os.replace", watched)
    dataset.save(recipe(made, fingerprint="new"))
    assert there == [False, False]
    card = json.loads((tmp_path / "images.npy.json").read_text())
    assert card["fingerprint"] == "new" and card["bytes"] == dataset._filepath.stat().st_size


def test_the_card_of_one_run_does_not_vouch_for_the_array_of_another(dataset, made, monkeypatch):
    replace = os.replace

    def overtaken(source, target):
        replace(source, target)
        monkeypatch.undo()  # another run replaces the array before the first has written its card
        ArrayDataset(filepath=str(target)).save(recipe(made, value=2.0, fingerprint="other"))

    monkeypatch.setattr("discrepancy.atomic.os.replace", overtaken)
    dataset.save(recipe(made))
    assert (dataset.load() == 1).all()  # its own
    dataset.release()
    assert (dataset.load() == 2).all()
    dataset.save(recipe(made))
    assert (dataset.load() == 1).all() and made == ["abc", "other", "abc"]
