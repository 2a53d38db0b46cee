"""Bytes over HTTP from a server that cuts, lies and changes its mind."""

import hashlib
import socket
import threading

import numpy as np
import pytest

from discrepancy import transfer as module
from discrepancy.errors import InputError
from discrepancy.transfer import ChecksumError, TransferError, checksum_of, part_of
from tests.loopback import Served, serving

MIB = 1 << 20
HALF = MIB // 2
DATA = np.random.default_rng(0).bytes(3 * MIB)
OTHER = np.random.default_rng(1).bytes(3 * MIB - 7)
LOST = 1 << 16
"""A client may lose so much of what came last when a connection breaks."""


@pytest.fixture
def part(tmp_path):
    return tmp_path / "set.zip.part"


def target_of(part):
    return part.with_name(part.name.removesuffix(".part"))


def download(part, url, *, timeout=5, retries=2, pause=0, **options):
    """What came; nothing else is left."""
    target = target_of(part)
    found = module.download(url, target, timeout=timeout, retries=retries, pause=pause, **options)
    assert [path.name for path in part.parent.iterdir()] == [target.name] and part == part_of(target)
    data = target.read_bytes()
    digits = hashlib.new(found.partition(":")[0], data).hexdigest()
    assert found.partition(":")[2] == digits
    return data


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_file_comes_whole_in_one_go(part):
    served, asked = Served(DATA), []
    with serving(a=served) as url:
        assert download(part, url("a"), room=asked.append) == DATA
    assert served.sent == [len(DATA)] and asked == [len(DATA)]


def test_a_cut_connection_is_resumed_where_it_broke_off(part):
    served = Served(DATA, cuts=[MIB])
    with serving(a=served) as url:
        assert download(part, url("a")) == DATA
    first, second = served.ranges_asked
    begun = int(second.removeprefix("bytes=").removesuffix("-"))
    assert first is None and MIB - LOST < begun <= MIB
    assert served.sent == [MIB, len(DATA) - begun]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(part):
    served = Served(DATA, cuts=[HALF])
    with serving(a=served) as url:
        with pytest.raises(TransferError, match=f"the connection was cut after .* of {len(DATA)} bytes"):
            download(part, url("a"), retries=0)
        here = part.stat().st_size
        assert here > HALF - LOST and part.read_bytes() == DATA[:here]
        asked = []
        assert download(part, url("a"), room=asked.append) == DATA
    assert served.ranges_asked[1] == f"bytes={here}-" and sum(served.sent[1:]) == len(DATA) - here == asked[0]


def test_a_part_that_is_complete_already_needs_no_more_bytes(part, monkeypatch):
    served = Served(DATA)
    with serving(a=served) as url:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, "checksum_of", interrupt)
            download(part, url("a"))
        assert part.read_bytes() == DATA and not target_of(part).exists()
        assert download(part, url("a")) == DATA
    assert served.sent == [len(DATA), 0]


def test_who_interrupts_the_end_keeps_what_has_come(part, monkeypatch):
    """Gigabytes take seconds to reach the disk."""
    served = Served(DATA)
    with serving(a=served) as url:
        monkeypatch.setattr("discrepancy.atomic.os.fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download(part, url("a"))
        assert part.read_bytes() == DATA
        monkeypatch.undo()
        assert download(part, url("a")) == DATA
    assert served.sent[0] == len(DATA) and sum(served.sent[1:]) == 0


def test_a_server_that_always_cuts_is_overcome_as_long_as_it_brings_something(part):
    served = Served(DATA, always_cut=MIB + 2 * LOST)
    with serving(a=served) as url:
        assert download(part, url("a"), retries=0) == DATA
    assert len(served.sent) == 3


def test_without_ranges_the_file_comes_again_from_the_start(part):
    served = Served(DATA, ranges=False, cuts=[2 * MIB])
    with serving(a=served) as url:
        assert download(part, url("a")) == DATA
    assert served.sent == [2 * MIB, len(DATA)]


def test_without_ranges_a_server_that_always_cuts_is_given_up(part):
    served = Served(DATA, ranges=False, always_cut=MIB // 2)
    with serving(a=served) as url, pytest.raises(TransferError, match="the connection was cut"):
        download(part, url("a"), retries=3)
    assert len(served.sent) == 4 and not target_of(part).exists()


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew_and_never_mixed(part, if_range):
    served = Served(DATA, cuts=[HALF], if_range=if_range)
    with serving(a=served) as url:
        with pytest.raises(TransferError):
            download(part, url("a"), retries=0)
        served.change(OTHER, '"2"')
        assert download(part, url("a")) == OTHER


def test_a_shorter_file_than_the_part_is_fetched_anew(part):
    served = Served(DATA, cuts=[HALF], if_range=False)
    with serving(a=served) as url:
        with pytest.raises(TransferError):
            download(part, url("a"), retries=0)
        served.change(OTHER[: HALF // 2], '"1"')
        assert download(part, url("a")) == OTHER[: HALF // 2]


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_a_part_of_no_known_version_is_not_gone_on_with(part, etag):
    served = Served(DATA, etag=etag, cuts=[2 * MIB])
    with serving(a=served) as url:
        assert download(part, url("a")) == DATA
    assert served.ranges_asked == [None, None]


def test_a_part_from_another_address_is_not_gone_on_with(part):
    with serving(a=Served(DATA, cuts=[HALF]), b=Served(OTHER)) as url:
        with pytest.raises(TransferError):
            download(part, url("a"), retries=0)
        assert download(part, url("b")) == OTHER


def test_more_announced_than_sent_is_an_error(part):
    served = Served(DATA[:1000], announce=2000, ranges=False)
    with serving(a=served) as url, pytest.raises(TransferError, match="of 2000 bytes"):
        download(part, url("a"))
    assert len(served.sent) == 3


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 3), (503, 3), (429, 3)])
def test_errors_of_the_server_are_named_and_only_passing_ones_tried_again(part, status, requests):
    served = Served(DATA, statuses=[status] * 9)
    with serving(a=served) as url, pytest.raises(TransferError, match=f"answered {status}"):
        download(part, url("a"))
    assert len(served.sent) == requests


def test_a_passing_error_is_overcome(part):
    with serving(a=Served(DATA, statuses=[503, 503])) as url:
        assert download(part, url("a")) == DATA


def test_a_web_page_is_no_archive(part):
    page = Served(b"<html>", kind="text/html; charset=utf-8")
    with serving(a=page) as url, pytest.raises(TransferError, match="web page"):
        download(part, url("a"))


def test_a_refused_connection_is_said_at_once(part, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("it waited"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TransferError, match="the connection was refused"):
        download(part, f"http://127.0.0.1:{port}/a")


def test_a_server_that_goes_away_in_the_middle_is_tried_again(part, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer_once():
            connection, _ = server.accept()
            server.close()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")

        thread = threading.Thread(target=answer_once)
        thread.start()
        with pytest.raises(TransferError, match="the connection was refused"):
            download(part, f"http://127.0.0.1:{port}/a", retries=2, pause=1)
        thread.join()
    assert pauses == [1, 2] and part.exists()


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_a_file_with_the_expected_checksum_is_taken(part, algorithm):
    digits = hashlib.new(algorithm, DATA).hexdigest()
    with serving(a=Served(DATA)) as url:
        assert download(part, url("a"), checksum=f"{algorithm}:{digits}") == DATA
        assert download(part, url("a"), checksum=f"{algorithm}:{digits[:8]}") == DATA  # the first digits will do
    assert checksum_of(target_of(part), algorithm) == f"{algorithm}:{digits}"


@pytest.mark.parametrize("existing", [None, b"before"])
def test_another_file_is_removed_and_what_was_there_stays(part, existing):
    target = target_of(part)
    if existing is not None:
        target.write_bytes(existing)
    with serving(a=Served(DATA)) as url, pytest.raises(ChecksumError) as caught:
        download(part, url("a"), checksum=f"sha256:{hashlib.sha256(OTHER).hexdigest()}")
    assert caught.value.found == f"sha256:{hashlib.sha256(DATA).hexdigest()}" and caught.value.found in str(
        caught.value
    )
    assert [path.read_bytes() for path in part.parent.iterdir()] == ([] if existing is None else [existing])


def test_a_server_that_stops_sending_is_not_waited_for_endlessly(part):
    served = Served(DATA, pause=9)
    with serving(a=served) as url, pytest.raises(TransferError, match="stopped sending"):
        download(part, url("a"), timeout=0.2, retries=0)


def test_no_byte_is_read_if_there_is_no_room(part):
    def full(size):
        raise InputError(f"{size} are too many")

    with serving(a=Served(DATA)) as url, pytest.raises(InputError, match=f"{len(DATA)} are too many"):
        download(part, url("a"), room=full)
    assert not part.exists()


def test_pauses_grow(part, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    with serving(a=Served(DATA, statuses=[500] * 9)) as url, pytest.raises(TransferError):
        download(part, url("a"), retries=7, pause=1)
    # the server's own pauses are of no length and are recorded too
    assert [pause for pause in pauses if pause] == [1, 2, 4, 8, 16, 30, 30]
