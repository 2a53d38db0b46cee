"""Files and folders are there whole or not at all, whatever ends the process that writes them."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from kedro.io import DatasetError, Version

from discrepancy.atomic import UNFINISHED, delete_leftovers, replacing
from discrepancy.datasets import PicturesDataset, TextDataset, ValuesDataset

WRITER = """
import sys, time
from pathlib import Path
from discrepancy.atomic import replacing
with replacing(Path(sys.argv[1])) as path:
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing `a.txt`."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "a.txt")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    yield process
    process.kill()
    process.wait()


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "folder/a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new" and os.listdir(path.parent) == ["a.txt"]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_had_half_written_is_deleted_by_the_next(tmp_path, writer, ending):
    writer.send_signal(ending)
    writer.wait()
    assert not (tmp_path / "a.txt").exists() and os.listdir(tmp_path)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_living_process_is_writing_is_left_to_it(tmp_path, writer):
    before = set(os.listdir(tmp_path))
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert before < set(os.listdir(tmp_path))


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("first", "second"):
        with replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == ["second"]


def test_a_folder_comes_back_if_the_process_was_killed_before_the_new_one_was_there(tmp_path):
    old = tmp_path / ".unfinished-dead/replaced/folder"
    old.mkdir(parents=True)
    (old / "a.txt").write_text("old")
    delete_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["folder"] and (tmp_path / "folder/a.txt").read_text() == "old"


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    for text in ("first", "second"):
        with replacing(path) as temporary:
            temporary.write_text(text)
    assert path.read_text() == "second" and os.listdir(tmp_path) == [path.name]


def test_a_folder_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def without_locks(*_):
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("version", [None, Version(None, "v")])
def test_a_dataset_that_cannot_be_written_leaves_nothing(tmp_path, version):
    with pytest.raises(DatasetError):
        ValuesDataset(filepath=str(tmp_path / "x.json"), version=version).save({"a": object()})
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.name == "v"]


def test_pictures_that_cannot_be_drawn_leave_no_version(tmp_path):
    def drawn():
        raise RuntimeError
        yield

    with pytest.raises(DatasetError):
        PicturesDataset(filepath=str(tmp_path / "x"), version=Version(None, "v")).save(drawn())
    assert not list((tmp_path / "x").iterdir())


def test_a_version_that_was_written_half_is_no_version(tmp_path, monkeypatch):
    dataset = TextDataset(filepath=str(tmp_path / "x"), version=Version(None, "1"))
    dataset.save("whole")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("discrepancy.datasets.own.write_note", killed)
    later = TextDataset(filepath=str(tmp_path / "x"), version=Version(None, "2"))
    later.origin = object()
    with pytest.raises((KeyboardInterrupt, DatasetError, AttributeError)):
        later.save("half")
    assert TextDataset(filepath=str(tmp_path / "x"), version=Version(None, None)).load() == "whole"


def test_many_threads_write_beside_each_other(tmp_path):
    """Each deletes what killed processes left, and takes no other thread's folder for such."""

    def write(number):
        with replacing(tmp_path / f"{number}.txt") as path:
            path.write_text(str(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(600)))
    assert sorted(int(path.read_text()) for path in tmp_path.glob("*.txt")) == list(range(600))
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))


def test_a_folder_from_before_its_lock_is_deleted_when_it_is_old(tmp_path):
    old, fresh = tmp_path / ".claiming-1", tmp_path / ".claiming-2"
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (0, 0))
    delete_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".claiming-2"]
