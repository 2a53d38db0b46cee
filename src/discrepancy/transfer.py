"""Download files over HTTP, whole and verified or not at all, and resume what was cut, by a later run too."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests
from tqdm import tqdm

from discrepancy.atomic import sync_file
from discrepancy.errors import InputError
from discrepancy.json_files import read_object

logger = logging.getLogger(__name__)

PAUSE: Final = 1.0
"""Seconds before the first further attempt; each pause is twice the one before."""
LONGEST_PAUSE: Final = 30.0
STEP: Final = 1 << 20
"""An attempt that brings so many bytes more, or the end, is no failure."""
_PIECE: Final = 1 << 15  # what is lost at most when a connection is cut
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)")


class TransferError(Exception):
    """The file did not come, or not whole; the text says why in a few words. What came is kept for the next attempt."""


class _TransientError(TransferError):
    """One more attempt may succeed."""


class ChecksumError(Exception):
    """Another file came than the expected one, and was removed; `found` is its checksum, `algorithm:digits`."""

    def __init__(self, found: str) -> None:
        super().__init__(f"what came is damaged or altered: its checksum is {found}")
        self.found = found


def checksum_of(path: Path, algorithm: str = "sha256") -> str:
    """Return `algorithm:digits` of a file."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def part_of(target: Path) -> Path:
    """Return the file in which a download to `target` grows."""
    return target.with_name(f"{target.name}.part")


def download(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    timeout: float,
    retries: int,
    room: Callable[[int], None] = lambda size: None,
    pause: float = PAUSE,
) -> str:
    """Download a file. Only one process at a time may do so, see `locks.file_lock`.

    What has come lies in `part_of(target)` until the end, even if the process is killed. A server is asked for the
    rest of it only if it once said which version of the file it sent (`ETag`, `Last-Modified`). If that has changed,
    or the server cannot send pieces, all is fetched again.

    Args:
        url: http or https.
        target: where the file belongs; replaced if it exists.
        checksum: `algorithm:digits` that the file must have, of the digits at least the first; None to take any file.
        timeout: seconds to wait for the connection, and for each piece.
        retries: attempts in a row, after the first one, that may end with hardly a byte more.
        room: called with the number of bytes that are to come, before the first of them is read; may refuse.
        pause: seconds before the first further attempt.

    Returns:
        The file's checksum, all digits of it, sha256 if none was given.

    Raises:
        TransferError: all attempts have failed.
        ChecksumError: the file has another checksum.
        OSError: the folder cannot be written, or the disk is full.
    """
    part = _Part(part_of(target), url)
    failures, furthest = 0, part.size
    while True:
        try:
            _attempt(part, timeout, room)
            break
        except _TransientError as error:
            failures = 0 if part.size >= furthest + STEP else failures + 1
            furthest = max(furthest, part.size)
            if failures > retries:
                raise TransferError(str(error)) from error
            seconds = min(pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE)
            logger.warning("%s; %d bytes are here, trying again in %.0f s", error, part.size, seconds)
            time.sleep(seconds)
    found = checksum_of(part.path, checksum.partition(":")[0] if checksum else "sha256")
    if checksum and not found.startswith(checksum):
        part.forget()
        raise ChecksumError(found)
    sync_file(part.path)  # gigabytes take their time: whoever loses patience then keeps what has come
    part.path.replace(target)
    part.forget()
    return found


@dataclass
class _Part:
    """The beginning of a file; beside it lies a note of the address and version that it is of."""

    path: Path
    url: str
    connected: bool = False
    """True once this process has reached the server: before that, waiting is no use."""

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        """Return what the server said of the file whose beginning lies here."""
        with suppress(InputError):
            note = read_object(self._note)
            if note.get("url") == self.url and isinstance(note.get("version"), str):
                return str(note["version"])
        return None

    def begin(self, version: str | None) -> None:
        """Empty the part before the note is written: it must never be taken for another version's."""
        self.path.write_bytes(b"")
        self._note.write_text(json.dumps({"url": self.url, "version": version}), encoding="utf-8")

    def forget(self) -> None:
        """Remove the part and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _attempt(part: _Part, timeout: float, room: Callable[[int], None]) -> None:
    """Fetch what is missing, or all."""
    start, version = part.size, part.version
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges are of the file as it is
    if start and version:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        response = requests.get(part.url, headers=headers, stream=True, timeout=(timeout, timeout))
    except requests.exceptions.RequestException as error:
        raise (_TransientError if part.connected else TransferError)(_reason(error)) from error
    part.connected = True
    with response:
        if response.status_code == requests.codes.requested_range_not_satisfiable and "Range" in headers:
            if response.headers.get("Content-Range", "").endswith(f"*/{start}"):
                return  # all of it was here
            part.forget()
            raise _TransientError("the file is shorter than the part that came before")
        _check_answer(response)
        total = _length(response)
        if response.status_code == requests.codes.partial_content:
            first, total = _range(response)
            if first != start or _version_of(response) not in {version, None}:
                part.forget()
                raise _TransientError("another piece came than the one asked for")
        else:
            start = 0
        room(total - start if total else 0)
        if start == 0:
            part.begin(_version_of(response))
        _receive(part, response, total)


def _receive(part: _Part, response: requests.Response, total: int | None) -> None:
    """Append what comes; check that it is as much as was announced."""
    bar = tqdm(total=total, initial=part.size, desc=part.path.stem, unit="B", unit_scale=True, disable=None)
    with part.path.open("ab") as file, bar:
        try:
            for piece in response.iter_content(_PIECE):
                file.write(piece)
                bar.update(len(piece))
        except requests.exceptions.RequestException as error:
            raise _TransientError(f"{_reason(error)} after {file.tell()} of {total or 'unknown'} bytes") from error
    if total is not None and part.size != total:
        raise _TransientError(f"{total} bytes were announced, {part.size} came")


def _check_answer(response: requests.Response) -> None:
    status = response.status_code
    if status >= 500 or status == requests.codes.too_many_requests:
        raise _TransientError(f"the server answered {status} {response.reason}")
    if status not in {requests.codes.ok, requests.codes.partial_content}:
        raise TransferError(f"the server answered {status} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError("the server sent a web page in place of the file")


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _range(response: requests.Response) -> tuple[int, int | None]:
    """Return the first byte of the piece that comes, and the size of the whole file."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (-1, None)


def _version_of(response: requests.Response) -> str | None:
    """Return a mark that changes with the file: a strong ETag, or else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _reason(error: requests.exceptions.RequestException) -> str:
    """Return a few words in place of three nested exceptions."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.Timeout) or "Read timed out" in str(error):
        return "the server stopped sending"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.exceptions.ConnectionError):
        for mark, reason in _CONNECTION.items():
            if mark in str(error):
                return reason
    return str(error)[:200] or type(error).__name__


_CONNECTION: Final = {
    "NameResolutionError": "the server's name could not be resolved",
    "Connection refused": "the connection was refused",
    "Network is unreachable": "there is no network",
    "ProxyError": "the proxy refused the connection",
    "SSLError": "the server's certificate could not be checked",
    "Connection aborted": "the connection was cut",
}
