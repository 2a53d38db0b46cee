"""Unpacking an archive that is not trusted: nothing outside the folder, no links, no more than a limit."""

from __future__ import annotations

import gzip
import lzma
import posixpath
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
        InputError: the archive is damaged or incomplete, unpacks to more than the limit, or holds a device, a link
            that leads elsewhere, or two members of one name. Or a member has an absolute path, `..`, a drive, a
            backslash or a control character in its name. The message names the member.
    """
    folder.mkdir(parents=True)
    written, size = 0, archive.stat().st_size
    try:
        with tqdm(total=size, desc=f"unpacking {archive.name}", unit="B", unit_scale=True, disable=None) as bar:
            for count, member in enumerate(members(archive, limit), 1):
                if count > MOST_MEMBERS:
                    raise InputError(
                        f"the archive holds more than {MOST_MEMBERS:,} members, far more than the data set has"
                    )
                bar.update(max(0, member.position - bar.n))
                written += _write(member, folder, written, limit)
            bar.update(max(0, size - bar.n))
    except InputError:
        raise
    except _DAMAGED as error:
        reason = str(error).strip() or type(error).__name__
        raise InputError(
            f"the archive is damaged, incomplete, or neither tar nor zip ({reason[:200]}): expected a whole one"
        ) from error
    return written


def _write(member: Member, folder: Path, written: int, limit: int) -> int:
    """Write a member after so many bytes of others; return its size. The folder holds no links, so none is followed."""
    place = folder / safe_place(member.name)
    _make(place if member.folder else place.parent, folder, member.name)
    if member.folder:
        return 0
    before = written
    try:
        with _content(member, folder) as content, place.open("xb") as file:
            while piece := content.read(_PIECE):
                written += len(piece)
                if written > limit:
                    raise too_large(limit)
                file.write(piece)
    except FileExistsError as error:  # also where the file system does not tell A from a
        raise refused(member.name, "for the second time") from error
    return written - before


def _make(place: Path, folder: Path, name: str) -> None:
    """Make a folder and those above it, none of which may be a file."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(path for path in (place, *place.parents) if path.is_file())
        raise refused(name, f"below the file {file.relative_to(folder).as_posix()!r}") from error


def _content(member: Member, folder: Path) -> IO[bytes]:
    if member.link is None:
        return member.open()
    target = folder / safe_target(member.name, member.link)
    if not target.is_file():
        raise refused(member.name, f"a link to {member.link!r}, which is no file before it in the archive")
    return target.open("rb")


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
    target = PurePosixPath(posixpath.normpath(link))
    if target.is_absolute() or "\\" in link or target.parts[:1] == ("..",):
        raise refused(name, f"a link to {link!r}, which leads out of its folder")
    return target
