"""One file over HTTP: with progress, resumed where it was cut, in this run or in a later one."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import requests
from tqdm import tqdm

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


class _Passing(TransferError):
    """One more attempt may succeed."""


class Transfer:
    """A downloader for pooch. What has come lies in `part` until the end, even if the process is killed.

    A server is asked for the rest of a part only if it once said which version of the file it sent (`ETag`,
    `Last-Modified`): if that has changed, or the server cannot send pieces, all is fetched again.

    Args:
        part: the file that grows.
        timeout: seconds to wait for the connection, and for each piece.
        retries: attempts in a row, after the first one, that may end with hardly a byte more.
        room: called with the number of bytes that are to come, before the first of them is read; may refuse.
        pause: seconds before the first further attempt.
    """

    def __init__(
        self,
        part: Path,
        *,
        timeout: float,
        retries: int,
        room: Callable[[int], None] = lambda size: None,
        pause: float = PAUSE,
    ) -> None:
        self.part = part
        self.notes = part.with_name(f"{part.name}.json")
        self._timeout = timeout
        self._retries = retries
        self._room = room
        self._pause = pause
        self._connected = False

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch `url` and put it at `output_file`.

        Raises:
            TransferError: with the reason, when all attempts have failed.
        """
        failures, furthest = 0, self._size()
        while True:
            try:
                self._attempt(url)
                break
            except _Passing as error:
                failures = 0 if self._size() >= furthest + STEP else failures + 1
                furthest = max(furthest, self._size())
                if failures > self._retries:
                    raise TransferError(str(error)) from error
                pause = min(self._pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE)
                logger.warning("%s; %d bytes are here, trying again in %.0f s", error, self._size(), pause)
                time.sleep(pause)
        Path(output_file).unlink(missing_ok=True)  # pooch made it, empty
        try:
            os.link(self.part, output_file)  # the part outlives a process that is killed while pooch checks it
        except OSError:  # a file system without links
            shutil.move(self.part, output_file)

    def forget(self) -> None:
        """Remove the part and what is known of it."""
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def _attempt(self, url: str) -> None:
        try:
            self._request(url)
        except requests.exceptions.RequestException as error:
            kind: type[TransferError] = _Passing if self._connected else TransferError
            raise kind(_reason(error)) from error

    def _request(self, url: str) -> None:
        start, version = self._size(), self._version(url)
        headers = {"Accept-Encoding": "identity"}  # lengths and ranges are of the file as it is
        if start and version:
            headers |= {"Range": f"bytes={start}-", "If-Range": version}
        timeout = (self._timeout, self._timeout)
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            self._connected = True
            if response.status_code == requests.codes.requested_range_not_satisfiable and "Range" in headers:
                if response.headers.get("Content-Range", "").endswith(f"*/{start}"):
                    return  # all of it was here
                self.forget()
                raise _Passing("the file is shorter than the part that came before")
            _check_answer(response)
            total = _length(response)
            if response.status_code == requests.codes.partial_content:
                first, total = _range(response)
                if first != start or _version_of(response) not in {version, None}:
                    self.forget()
                    raise _Passing("another piece came than the one asked for")
            else:
                start = 0
            self._room(total - start if total else 0)
            self._receive(url, response, start, total)

    def _receive(self, url: str, response: requests.Response, start: int, total: int | None) -> None:
        """Append what comes; check that it is as much as was announced."""
        with self.part.open("ab") as file:
            if start == 0:
                file.truncate(0)  # before the notes: a part must never be taken for another version's
                self.notes.write_text(json.dumps({"url": url, "version": _version_of(response)}), encoding="utf-8")
            name = self.part.name.removesuffix(".part")
            with tqdm(total=total, initial=start, desc=name, unit="B", unit_scale=True, disable=None) as bar:
                try:
                    for piece in response.iter_content(_PIECE):
                        file.write(piece)
                        bar.update(len(piece))
                except requests.exceptions.RequestException as error:
                    raise _Passing(f"{_reason(error)} after {file.tell()} of {total or 'unknown'} bytes") from error
        if total is not None and self._size() != total:
            raise _Passing(f"{total} bytes were announced, {self._size()} came")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _version(self, url: str) -> str | None:
        """What the server said of the file whose beginning lies here."""
        with suppress(InputError):
            notes = read_object(self.notes)
            if notes.get("url") == url and isinstance(notes.get("version"), str):
                return str(notes["version"])
        return None


def _check_answer(response: requests.Response) -> None:
    status = response.status_code
    if status >= 500 or status == requests.codes.too_many_requests:
        raise _Passing(f"the server answered {status} {response.reason}")
    if status not in {requests.codes.ok, requests.codes.partial_content}:
        raise TransferError(f"the server answered {status} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError("the server sent a web page in place of the archive")


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _range(response: requests.Response) -> tuple[int, int | None]:
    """First byte of the piece that comes, and the size of the whole file."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (-1, None)


def _version_of(response: requests.Response) -> str | None:
    """A mark that changes with the file: a strong ETag, or else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _reason(error: requests.exceptions.RequestException) -> str:
    """A few words in place of three nested exceptions."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.Timeout) or "Read timed out" in str(error):
        return "the server stopped sending"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.exceptions.ConnectionError):
        text = str(error)
        for mark, reason in _CONNECTION.items():
            if mark in text:
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
