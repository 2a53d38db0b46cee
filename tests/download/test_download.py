"""A data set from the web to its folder, whole or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path

import pytest

from discrepancy.download import SOURCES, DownloadRequest, fetch, find_source, read_manifest
from discrepancy.download import fetch as fetch_function
from discrepancy.download.checksums import parse_checksum
from discrepancy.errors import InputError
from tests.conftest import write_part
from tests.loopback import Served, serving

NAME = "disc__tar__xz"
MODULE = sys.modules[fetch_function.__module__]
LICENCE = "CC BY-NC-SA 4.0"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A data set of two categories, about 400 KB, as one archive."""
    folder = tmp_path_factory.mktemp("published")
    write_part(folder / "set/disc", train=4, good=1, bad=2)
    write_part(folder / "set/ring", train=3, good=2, bad=1)
    (folder / "set/license.txt").write_text(LICENCE)
    with tarfile.open(folder / "a.tar.xz", "w:xz", preset=0) as tar:
        for entry in sorted((folder / "set").iterdir()):
            tar.add(entry, entry.name)
    return (folder / "a.tar.xz").read_bytes()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "raw/mvtec_ad"


def digest(data):
    return f"sha256:{sha256(data).hexdigest()}"


def request(url, data=None, **options):
    source = replace(SOURCES["mvtec_ad"], url=url, archive_bytes=None, checksum=data and digest(data))
    return DownloadRequest(source, timeout=5, retries=2, pause=0, **options)


def left(target):
    """What lies around the data set, other than the lock."""
    found = {path.relative_to(target.parent).as_posix() for path in target.parent.rglob("*") if path.is_file()}
    return sorted(name for name in found if not name.startswith("mvtec_ad/") and not name.endswith(".lock"))


def failed(what, target, *said, remains=()):
    """It fails, says so, and nothing is in the place of the data set or on the way there."""
    with pytest.raises(InputError) as caught:
        fetch(what, target)
    for words in said:
        assert words in str(caught.value)
    assert not target.exists() and left(target) == sorted(remains)


def test_a_data_set_comes_whole_and_says_what_it_is(archive, target):
    served = Served(archive)
    with serving(**{NAME: served}) as url:
        manifest = fetch(request(url(NAME), archive), target)
        assert manifest == read_manifest(target) == json.loads((target / ".downloaded.json").read_text())
        assert manifest["url"] == url(NAME) and manifest["checksum"] == digest(archive)
    assert manifest["categories"] == {"disc": {"train": 4, "test": 3}, "ring": {"train": 3, "test": 3}}
    assert manifest["licence"]["name"] == LICENCE and manifest["downloaded"].endswith("+00:00")
    assert (target / "license.txt").read_text() == LICENCE and len(list(target.rglob("*.png"))) == 16
    assert served.sent == [len(archive)] and left(target) == []


def test_started_again_it_does_nothing(archive, target):
    served = Served(archive)
    with serving(**{NAME: served}) as url:
        first = fetch(request(url(NAME), archive), target)
        (target / "disc/train/good/000.png").unlink()
        assert fetch(request(url(NAME), archive), target) == first
    assert served.sent == [len(archive)] and not (target / "disc/train/good/000.png").exists()


@pytest.mark.parametrize("what", ["a file in it", "another data set", "a hidden file in it", "is a file"])
def test_a_place_that_is_taken_is_never_touched(archive, target, what):
    target.parent.mkdir()
    if what == "is a file":
        target.write_text("mine")
    else:
        target.mkdir()
        name = {"a file in it": "mine.txt", "a hidden file in it": ".mine"}.get(what, ".downloaded.json")
        (target / name).write_text('{"dataset": "btad", "categories": {}}' if "json" in name else "mine")
    before = {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()}
    served = Served(archive)
    with serving(**{NAME: served}) as url, pytest.raises(InputError, match="expected a free place") as caught:
        fetch(request(url(NAME), archive), target)
    assert str(target) in str(caught.value)
    assert {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()} == before
    assert served.sent == []


def test_an_empty_place_is_taken(archive, target):
    target.mkdir(parents=True)
    with serving(**{NAME: Served(archive)}) as url:
        assert fetch(request(url(NAME), archive), target)["dataset"] == "mvtec_ad"


def test_an_archive_put_there_by_hand_needs_no_network(archive, target):
    (target.parent / ".downloads").mkdir(parents=True)
    (target.parent / ".downloads/disc.tar.xz").write_bytes(archive)
    manifest = fetch(request("http://127.0.0.1:9/disc.tar.xz", archive, keep_archive=True), target)
    assert set(manifest["categories"]) == {"disc", "ring"} and left(target) == [".downloads/disc.tar.xz"]


def test_an_archive_put_there_by_hand_is_checked_and_stays(archive, target):
    (target.parent / ".downloads").mkdir(parents=True)
    (target.parent / ".downloads/disc.tar.xz").write_bytes(archive[:-1])
    remains = [".downloads/disc.tar.xz"]
    what = request("http://127.0.0.1:9/disc.tar.xz", archive)
    failed(what, target, digest(archive), digest(archive[:-1]), "as published", "checksum=none", remains=remains)
    what = request("http://127.0.0.1:9/disc.tar.xz")
    failed(what, target, "disc.tar.xz", "damaged", "Remove", remains=remains)


@pytest.mark.parametrize("algorithm", [sha256, md5])
def test_another_file_than_the_published_one_is_removed_and_both_digests_shown(archive, target, algorithm):
    wanted, found = algorithm(archive).hexdigest(), algorithm(archive[:-9]).hexdigest()
    with serving(**{NAME: Served(archive[:-9])}) as url:
        what = request(url(NAME))
        checksum = f"{algorithm().name}:{wanted}"
        what = replace(what, source=replace(what.source, checksum=checksum))
        failed(what, target, f"{algorithm().name}:{found}", checksum, "as published")


def test_less_announced_than_the_archive_has_is_noticed(archive, target):
    with serving(**{NAME: Served(archive, announce=len(archive) // 2, ranges=False)}) as url:
        failed(request(url(NAME), archive), target, digest(archive))
        failed(request(url(NAME)), target, "damaged", "It was removed")


def test_without_a_published_digest_the_first_one_counts_from_then_on(archive, target):
    served = Served(archive)
    with serving(**{NAME: served}) as url:
        fetch(request(url(NAME)), target)
        records = target.parent / ".downloads/checksums.json"
        assert json.loads(records.read_text()) == {url(NAME): digest(archive)}
        shutil.rmtree(target)
        fetch(request(url(NAME)), target)
        shutil.rmtree(target)
        served.change(archive + b"\0", '"2"')
        said = (digest(archive), digest(archive + b"\0"), "at its first download", str(records))
        failed(request(url(NAME)), target, *said, remains=[".downloads/checksums.json"])


def test_a_digest_is_not_recorded_before_the_archive_proved_good(archive, target):
    with serving(**{NAME: Served(archive[:5000])}) as url:
        failed(request(url(NAME)), target, "damaged")


@pytest.mark.parametrize(
    ("status", "said"), [(404, "404"), (403, "403"), (500, "500"), (None, "refused"), ("html", "web page")]
)
def test_without_the_file_it_says_how_to_go_on_by_hand(archive, target, status, said):
    served = Served(archive, statuses=[status] * 9 if isinstance(status, int) else [])
    served.kind = "text/html" if status == "html" else served.kind
    with serving(**{NAME: served}) as url:
        address = url(NAME) if status else "http://127.0.0.1:9/disc.tar.xz"
        what = request(address, archive)
        by_hand = (address, what.source.home, str(target.parent / ".downloads/disc.tar.xz"), "same command")
        failed(what, target, said, *by_hand)


def test_no_byte_is_transferred_to_a_disk_that_is_too_full(archive, target, monkeypatch):
    served = Served(archive)
    usage = shutil.disk_usage("/")
    with serving(**{NAME: served}) as url:
        monkeypatch.setattr(MODULE.shutil, "disk_usage", lambda path: usage._replace(free=2 * len(archive)))
        failed(request(url(NAME), archive), target, "GB are free", "data_root=...")  # by the length the server gave
        assert served.sent[0] <= len(archive) and not (target.parent / ".downloads/disc.tar.xz.part").exists()
        known = request(url(NAME), archive)
        known = replace(known, source=replace(known.source, archive_bytes=len(archive)))
        failed(known, target, "GB are free")  # by the published one: not even asked
        assert len(served.sent) == 1


HOSTILE = {
    "..": "../evil",
    "absolute": "/tmp/discrepancy-evil",
    "through a link": "disc/link/evil",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_leaves_nothing(tmp_path, target, kind):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        if kind == "through a link":
            link = tarfile.TarInfo("disc/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
            tar.addfile(link)
        tar.addfile(tarfile.TarInfo(HOSTILE[kind]))
    data = (tmp_path / "evil.tar").read_bytes()
    (tmp_path / "evil.tar").unlink()
    with serving(**{NAME: Served(data)}) as url:
        failed(request(url(NAME), data), target, "disc.tar.xz", "It was removed")
    assert not list(tmp_path.rglob("evil")) and not os.path.exists("/tmp/discrepancy-evil")


def test_a_bomb_is_stopped_at_twice_the_size_of_the_data_set(archive, target):
    with serving(**{NAME: Served(archive)}) as url:
        what = request(url(NAME), archive)
        what = replace(what, source=replace(what.source, extracted_bytes=len(archive) // 8))
        failed(what, target, "unpacks to more than")


def test_an_archive_of_something_else_is_not_put_in_place(tmp_path, target):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/cat.txt").write_text("miaow")
    with tarfile.open(tmp_path / "cats.tar", "w") as tar:
        tar.add(tmp_path / "cats", "cats")
    data = (tmp_path / "cats.tar").read_bytes()
    with serving(**{NAME: Served(data)}) as url:
        failed(request(url(NAME), data), target, "no folder in it holds train/good")


def test_the_folder_around_the_data_set_is_left_out(tmp_path, target):
    write_part(tmp_path / "disc", train=3, good=1, bad=1)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "disc", "mvtec_anomaly_detection/disc")
    data = (tmp_path / "a.tar").read_bytes()
    with serving(**{NAME: Served(data)}) as url:
        fetch(request(url(NAME), data), target)
    assert (target / "disc/train/good/000.png").is_file()


PROGRAM = """
import sys
from pathlib import Path
from dataclasses import replace
from discrepancy.download import SOURCES, DownloadRequest, fetch
source = replace(SOURCES["mvtec_ad"], url=sys.argv[1], archive_bytes=None, checksum=sys.argv[2])
fetch(DownloadRequest(source, timeout=5, retries=0), Path(sys.argv[3]))
"""


def started(url, data, target):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, digest(data), str(target)], stderr=subprocess.PIPE)


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.005)


def test_kill_9_in_the_middle_then_again_transfers_the_rest_only(archive, target):
    served = Served(archive, piece=len(archive) // 8, pause=0.2)
    with serving(**{NAME: served}) as url:
        process = started(url(NAME), archive, target)
        part = target.parent / ".downloads/disc.tar.xz.part"
        wait_for(lambda: part.exists() and part.stat().st_size > len(archive) // 3, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not target.exists() and not (target.parent / ".downloads/disc.tar.xz").exists()
        here, served.pause = part.stat().st_size, 0
        fetch(request(url(NAME), archive), target)
    assert served.ranges_asked == [None, f"bytes={here}-"] and served.sent[1] == len(archive) - here
    assert left(target) == [] and len(read_manifest(target)["categories"]) == 2


def test_a_second_one_at_the_same_time_waits_for_the_first(archive, target, caplog):
    served = Served(archive, piece=len(archive) // 8, pause=0.1)
    with serving(**{NAME: served}) as url, caplog.at_level("INFO"):
        process = started(url(NAME), archive, target)
        wait_for((target.parent / ".downloads/disc.tar.xz.part").exists, process)
        manifest = fetch(request(url(NAME), archive), target)
        process.communicate()
    assert process.returncode == 0 and len(served.sent) == 1 and manifest == read_manifest(target)
    assert "waiting for another process" in caplog.text


def test_kill_9_while_unpacking_leaves_nothing_that_a_second_run_does_not_remove(archive, target):
    target.parent.mkdir()
    with serving(**{NAME: Served(archive)}) as url:
        program = PROGRAM.replace(
            "source =", "import os; from discrepancy.download import fetch as f\n"
            "module = sys.modules[f.__module__]; module.inventory = lambda *a: os.kill(os.getpid(), 9)\nsource ="
        )  # fmt: skip
        command = [sys.executable, "-c", program, url(NAME), digest(archive), str(target)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert not target.exists() and list(target.parent.glob(".unfinished-*/mvtec_ad unpacked/disc"))
        fetch(request(url(NAME), archive), target)
    assert [path.name for path in target.parent.iterdir() if path.name != ".downloads"] == ["mvtec_ad"]
    assert left(target) == []


def test_a_place_that_cannot_be_written_is_an_error_of_the_user(archive, tmp_path):
    (tmp_path / "file").write_text("")
    with serving(**{NAME: Served(archive)}) as url, pytest.raises(InputError, match="could not be written below"):
        fetch(request(url(NAME), archive), tmp_path / "file/mvtec_ad")


def test_damaged_records_are_named(archive, target):
    (target.parent / ".downloads").mkdir(parents=True)
    (target.parent / ".downloads/checksums.json").write_text("[")
    with serving(**{NAME: Served(archive)}) as url:
        failed(request(url(NAME)), target, "checksums.json", remains=[".downloads/checksums.json"])


@pytest.mark.parametrize("name", ["demo", "folder", "kolektor_sdd", "bottlecap", "mvtec"])
def test_data_sets_that_are_not_downloaded_say_why_and_which_are(name):
    with pytest.raises(InputError, match="btad, mvtec_3d, mvtec_ad, visa") as caught:
        find_source(name)
    assert name in str(caught.value)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sources_are_complete(source):
    assert parse_checksum(source.checksum) == source.checksum
    assert source.url.startswith("https://") and source.home.startswith("https://")
    assert source.archive in source.url and Path(source.archive).suffix in {".xz", ".zip", ".tar"}
    assert source.extracted_bytes >= (source.archive_bytes or 0) * 0.99


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a%20b.zip", "mvtec_ad.archive"),
        ("https://host/a.tar.gz?token=1/2", "a.tar.gz"),
        ("https://host/download", "mvtec_ad.archive"),
        ("https://host/..%2F..%2Fevil.zip", "evil.zip"),
        ("https://host/.zip", "mvtec_ad.archive"),
    ],
)
def test_the_archive_has_a_plain_name_whatever_the_address(url, name):
    assert replace(SOURCES["mvtec_ad"], url=url).archive == name


@pytest.mark.parametrize("text", ["", "sha256", "sha256:12", "crc:12345678", "md5:" + "g" * 32, "12" * 32])
def test_wrong_checksums_are_refused(text):
    with pytest.raises(InputError, match="checksum"):
        parse_checksum(text)
