"""A folder of predictions that is filled bit by bit: what was done before a kill, or at an earlier call, stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from discrepancy.atomic import replacing
from discrepancy.errors import InputError
from discrepancy.locks import file_lock

JOURNAL: Final = "journal.jsonl"
"""A line of JSON for what was asked, then one for each photograph that is done."""
PICTURES: Final = ("overlays", "maps", "masks", "thumbnails")


@dataclass(frozen=True)
class Entry:
    """A photograph that is done.

    Attributes:
        file: its name.
        stamp: size in bytes and time of change, ns: another file of this name is examined anew.
        line: of the table.
        outline: path of SVG around the regions, in pixels of the thumbnail.
        thumbnail: its width and height, px; empty if the photograph could not be read.
    """

    file: str
    stamp: tuple[int, int]
    line: Mapping[str, Any]
    outline: str = ""
    thumbnail: tuple[int, ...] = ()

    @property
    def readable(self) -> bool:
        """True if the photograph could be read; a fault may be mended without a change of the file."""
        return bool(self.thumbnail)


class PredictionStore:
    """Entries of a folder, by name of the photograph. One process at a time writes.

    Args:
        folder: made when it is opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._file: TextIO | None = None

    @contextmanager
    def opened(self, asked: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder, with the entries that were made for the same purpose; all others are deleted.

        Args:
            asked: JSON values that decide the entries: the detector, what is written.

        Raises:
            InputError: another process is at work in this folder, or it holds pictures that no prediction wrote.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = f"{self.folder}: another prediction writes there"
        with file_lock(self.folder / ".lock", wait=False, busy=busy, advice="output=... takes another folder"):
            self._check_own()
            self._entries = self._read(asked)
            if not self._entries:
                self._clear()
            self._rewrite(asked)
            with (self.folder / JOURNAL).open("a", encoding="utf-8") as self._file:
                yield
            self._file = None

    def find(self, file: str, stamp: tuple[int, int]) -> Entry | None:
        """Return the entry of a photograph if the file is still the same."""
        entry = self._entries.get(file)
        return entry if entry is not None and entry.stamp == stamp else None

    def add(self, entry: Entry) -> None:
        """Keep an entry; from now on a kill does not lose it."""
        assert self._file is not None
        self._file.write(f"{json.dumps(asdict(entry))}\n")
        self._file.flush()
        self._entries[entry.file] = entry

    def _read(self, asked: Mapping[str, Any]) -> dict[str, Entry]:
        try:
            first, *lines = (self.folder / JOURNAL).read_text(encoding="utf-8").splitlines() or [""]
        except (OSError, UnicodeDecodeError):
            return {}
        if _parsed(first) != dict(asked):
            return {}
        entries = [_entry(values) for line in lines if (values := _parsed(line)) is not None]
        return {entry.file: entry for entry in entries}

    def _check_own(self) -> None:
        """Refuse a folder that has pictures but no journal: they are somebody's own, and would be deleted."""
        if (self.folder / JOURNAL).exists():
            return
        for kind in PICTURES:
            if (place := self.folder / kind).is_dir() and any(place.iterdir()):
                raise InputError(
                    f"output: {place} holds files that no prediction wrote, and which would be deleted; "
                    "expected another folder"
                )

    def _clear(self) -> None:
        """Delete the pictures of entries that no longer count."""
        for kind in PICTURES:
            shutil.rmtree(self.folder / kind, ignore_errors=True)

    def _rewrite(self, asked: Mapping[str, Any]) -> None:
        """Write the journal anew: its last line may be torn."""
        with replacing(self.folder / JOURNAL) as path, path.open("w", encoding="utf-8") as file:
            file.write(f"{json.dumps(dict(asked))}\n")
            file.writelines(f"{json.dumps(asdict(entry))}\n" for entry in self._entries.values())


def _entry(values: Mapping[str, Any]) -> Entry:
    size, changed = values["stamp"]
    return Entry(**{**values, "stamp": (size, changed), "thumbnail": tuple(values["thumbnail"])})


def _parsed(line: str) -> dict[str, Any] | None:
    with suppress(ValueError):
        values = json.loads(line)
        return values if isinstance(values, dict) else None
    return None


def stamp_of(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of change of a file, ns; zeros if it has gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
