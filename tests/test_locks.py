"""Lock files: held by one process, whose name is told to the next, and free once it is gone."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest

from discrepancy.errors import InputError
from discrepancy.locks import file_lock

HOLDER = """
import sys, time
from pathlib import Path
from discrepancy.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made/.lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_who_does_not_wait_is_told_who_holds_it_and_since_when(path, holder):
    with (
        pytest.raises(InputError) as refused,
        file_lock(path, wait=False, busy="the oven is on", advice="wait for the cake"),
    ):
        raise AssertionError
    said = str(refused.value)
    start = f"the oven is on (process {holder.pid} on {socket.gethostname()}, since "
    assert said.startswith(start) and said.endswith("); expected to be alone: wait for the cake")
    since = datetime.strptime(said.removeprefix(start).partition(")")[0], "%Y-%m-%d %H:%M:%S")
    assert abs((datetime.now() - since).total_seconds()) < 60


def test_a_refused_process_leaves_the_holders_name_alone(path, holder):
    for _ in range(2):
        with pytest.raises(InputError, match=f"process {holder.pid} on"), file_lock(path, wait=False):
            raise AssertionError


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process(path, holder, ending):
    holder.send_signal(ending)
    holder.wait()
    with file_lock(path, wait=False):
        assert path.read_text().startswith(f"process {os.getpid()} on")


def test_who_waits_begins_when_the_holder_ends(path, holder):
    began = []

    def wait():
        with file_lock(path):
            began.append(holder.poll())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    assert began == []
    holder.kill()
    thread.join(timeout=20)
    assert len(began) == 1


def test_one_after_the_other_in_one_process(path):
    for _ in range(2):
        with file_lock(path, wait=False), pytest.raises(InputError), file_lock(path, wait=False):
            raise AssertionError


def test_a_folder_without_locks_is_worked_in_with_a_warning(path, monkeypatch, caplog):
    def without_locks(*_):
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with file_lock(path, wait=False):
        assert "No locks available" in caplog.text and "nothing keeps two processes apart" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_the_group_may_take_the_lock_too(tmp_path):
    """In a folder that several users share, the first one's lock would keep the others from any."""
    before = os.umask(0o022)
    try:
        with file_lock(tmp_path / ".lock"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664
