"""Whether a run can write is asked before it works, and what the system refuses later is one line."""

import errno
import os
import sqlite3
from contextlib import closing

import pytest
from kedro.io import DatasetError

from discrepancy.errors import InputError
from discrepancy.explanation import explanation
from discrepancy.places import check_database, check_file, check_folders
from discrepancy.training.checkpoint import Checkpoint


def test_folders_that_can_be_written_or_made_are_left_as_they_are(tmp_path):
    check_folders([tmp_path, tmp_path / "a/b/c"])
    assert not list(tmp_path.iterdir())


def test_a_file_or_a_link_to_nothing_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, said in (("file", "is a file"), ("link", "is a link to nothing")):
        with pytest.raises(InputError, match=f"{name}: {said}; expected a folder"):
            check_folders([tmp_path / name / "below"])


def test_a_folder_in_which_the_system_makes_no_file():
    with pytest.raises(InputError, match=r"^/proc: cannot be written \(.*\); expected a folder"):
        check_folders(["/proc/nope"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room(tmp_path, monkeypatch, code):
    def full(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=f"^{tmp_path}: cannot be written .{os.strerror(code)}"):
        check_folders([tmp_path])
    assert not list(tmp_path.iterdir())


def test_a_file_is_tried_without_being_made_or_changed(tmp_path):
    check_file(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot be written"):
        check_file(tmp_path)


def test_a_data_base_that_is_none(tmp_path):
    path = tmp_path / "a#b%20.db"
    check_database(path)
    assert not path.exists()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
    check_database(path)
    path.write_text("hello" * 1000)
    with pytest.raises(InputError, match="file is not a database; expected MLflow's database"):
        check_database(path)


def test_refusals_of_the_system_are_explained_with_the_file(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device", "/data/x.png")
    assert explanation(error).startswith("/data/x.png: No space left on device; expected")
    outer = DatasetError(
        "Failed while saving data to dataset a.b.JSONDataset(filepath=PurePosixPath('/d/y.json'), ...)."
    )
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert explanation(outer).startswith("/d/y.json: No space left on device")
    outer.__cause__ = RuntimeError("I/O error: No space left on device (os error 28)")
    assert explanation(outer).startswith("/d/y.json: No space left on device")


def test_what_the_program_did_wrong_keeps_its_traceback():
    assert explanation(FileNotFoundError(errno.ENOENT, "No such file", "/x")) is None
    assert explanation(ValueError("(os error 2)")) is None


def test_mlflows_data_base_that_fails_is_explained():
    from mlflow.exceptions import MlflowException

    error = MlflowException(
        "(raised as a result of autoflush)\n(sqlite3.OperationalError) database is locked\n[SQL: ...]"
    )
    assert explanation(error).startswith("MLflow's database: database is locked;")


def test_a_checkpoint_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"checkpoint.pt: cannot be written .No space left"):
        Checkpoint(tmp_path / "checkpoint.pt", "print").save({})
    assert not list(tmp_path.iterdir())
