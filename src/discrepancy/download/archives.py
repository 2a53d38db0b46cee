"""Unpacking an archive that is not trusted: nothing outside the folder, no links, no more than a limit."""

from __future__ import annotations

import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Final

from tqdm import tqdm

from discrepancy.download.members import Member, members, refused, too_large
from discrepancy.errors import InputError

MOST_MEMBERS: Final = 500_000
_PIECE: Final = 1 << 20
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DAMAGED: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # zipfile's, of a compression that it does not know
    ValueError,  # tarfile's and zipfile's, of numbers and texts in damaged headers
    OverflowError,
)


def unpack(archive: Path, folder: Path, *, limit: int) -> int:
    """Unpack a tar or zip archive into a folder that does not exist yet; return the bytes written.

    Files get the permissions of any new file. A link to an earlier file in the archive becomes a copy of it, so that
    the folder holds no links.

    Args:
        archive: the file.
        folder: made here; what lies in it after an error is to be removed.
        limit: bytes that may be written; they are counted, not taken from the headers.

    Raises:
        InputError: the archive is damaged or incomplete, unpacks to more than the limit, or holds a member with an
            absolute path, `..`, a drive, a backslash or a control character in its name, a link that leads elsewhere,
            a device, or two members of one name. The message names the member.
    """
    folder.mkdir(parents=True)
    unpacking = _Unpacking(folder, limit)
    size = archive.stat().st_size
    try:
        with tqdm(total=size, desc=f"unpacking {archive.name}", unit="B", unit_scale=True, disable=None) as bar:
            for member in members(archive, limit):
                bar.update(max(0, member.position - bar.n))
                unpacking.add(member)
            bar.update(max(0, size - bar.n))
    except InputError:
        raise
    except _DAMAGED as error:
        reason = str(error).strip() or type(error).__name__
        raise InputError(
            f"the archive is damaged, incomplete, or neither tar nor zip ({reason[:200]}): expected a whole one"
        ) from error
    return unpacking.written


class _Unpacking:
    """A folder that fills with the checked members of an archive."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._files: set[PurePosixPath] = set()
        self._folders: set[PurePosixPath] = {PurePosixPath()}
        self._count = 0
        self.written = 0

    def add(self, member: Member) -> None:
        """Check a member and write it."""
        self._count += 1
        if self._count > MOST_MEMBERS:
            raise InputError(f"the archive holds more than {MOST_MEMBERS:,} members, far more than the data set has")
        place = safe_place(member.name)
        if member.folder:
            self._make(place, member.name)
            return
        if place in self._files or place in self._folders:
            raise refused(member.name, "for the second time")
        self._make(place.parent, member.name)
        try:
            with self._content(member, place) as content, (self._folder / place).open("xb") as file:
                self._copy(content, file)
        except FileExistsError as error:  # the file system does not tell A from a
            raise refused(member.name, "for the second time") from error
        self._files.add(place)

    def _make(self, place: PurePosixPath, name: str) -> None:
        """Make a folder and those above it, none of which may be a file."""
        for parent in (*reversed(place.parents), place):
            if parent in self._files:
                raise refused(name, f"below the file {parent.as_posix()!r}")
            if parent not in self._folders:
                (self._folder / parent).mkdir()
                self._folders.add(parent)

    def _content(self, member: Member, place: PurePosixPath) -> IO[bytes]:
        if member.link is None:
            return member.open()
        target = safe_target(member.name, member.link)
        if target not in self._files:
            raise refused(member.name, f"a link to {member.link!r}, which is no file before it in the archive")
        return (self._folder / target).open("rb")

    def _copy(self, content: IO[bytes], file: IO[bytes]) -> None:
        while piece := content.read(_PIECE):
            self.written += len(piece)
            if self.written > self._limit:
                raise too_large(self._limit)
            file.write(piece)


def safe_place(name: str) -> PurePosixPath:
    """Return where in the folder a member belongs, by its name.

    Raises:
        InputError: the name leads out of the folder on one of the usual systems, or cannot be a file's.
    """
    if name.startswith("/"):
        raise refused(name, "an absolute path")
    if "\\" in name or _DRIVE.match(name):
        raise refused(name, "a path of Windows")
    if _CONTROL.search(name):
        raise refused(name, "with a control character in its name")
    place = PurePosixPath(name)  # drops `.` and empty parts
    if ".." in place.parts:
        raise refused(name, "which leads out of its folder by '..'")
    return place


def safe_target(name: str, link: str) -> PurePosixPath:
    """Return which member a link repeats: `..` is resolved by name, since the folder holds no links.

    Raises:
        InputError: it leads out of the folder.
    """
    if link.startswith("/") or "\\" in link:
        raise refused(name, f"a link to {link!r}, which leads out of its folder")
    parts: list[str] = []
    for part in PurePosixPath(link).parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise refused(name, f"a link to {link!r}, which leads out of its folder")
    return PurePosixPath(*parts)
