"""Members of a tar or zip archive, one after the other: plain files and folders only, or an error."""

from __future__ import annotations

import gzip
import lzma
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from discrepancy.errors import InputError

_SLACK: Final = 64 << 20  # what headers and padding may take besides the files, bytes
_LONGEST_HEADER: Final = 16 << 20  # bytes
_BLOCK: Final = 512  # of a tar archive, bytes


@dataclass(frozen=True)
class Member:
    """One member of an archive.

    Attributes:
        name: as the archive has it, not checked.
        folder: whether it is one; else it is a file.
        link: the name of an earlier file that it repeats; None if it has a content of its own.
        position: how much of the archive was read before it, bytes.
        open: its content.
    """

    name: str
    folder: bool
    link: str | None
    position: int
    open: Callable[[], IO[bytes]]


def members(archive: Path, limit: int) -> Iterator[Member]:
    """Yield the members of a tar (plain, gzip, xz) or zip archive, told by its first bytes, in their order.

    Args:
        archive: the file.
        limit: bytes that its files may take unpacked; headers and skipped contents count here.

    Raises:
        InputError: a member is neither file nor folder nor a link to an earlier file, or is encrypted or sparse. Or
            more than the limit is packed, or the end of the archive is missing.
    """
    with archive.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        yield from _zip_members(raw) if start in {b"PK\x03\x04", b"PK\x05\x06"} else _tar_members(raw, limit)


def refused(name: str, reason: str) -> InputError:
    """Return the error that names a member."""
    return InputError(f"the archive holds {name!r}, {reason}: expected plain files and folders inside one folder")


class _Meter:
    """An unpacked stream for tarfile, of which it may read up to a limit, whatever the headers say."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit + _SLACK
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > _LONGEST_HEADER:
            raise InputError(f"the archive has a header of {size} bytes: expected no more than {_LONGEST_HEADER}")
        self.last = self._stream.read(size)
        self._check(self.tell())
        return self.last

    def seek(self, position: int, whence: int = 0) -> int:
        self._check(position)
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise too_large(self._limit)


def too_large(limit: int) -> InputError:
    """Return the error about an archive bomb."""
    return InputError(f"the archive unpacks to more than {limit:,} bytes: expected far less, as the data set has")


def _tar_members(raw: IO[bytes], limit: int) -> Iterator[Member]:
    meter: Any = _Meter(_decompressed(raw), limit)  # tarfile needs no more of a file than these three methods
    with tarfile.open(fileobj=meter, mode="r:") as tar:
        for info in tar:
            yield Member(info.name, info.isdir(), _checked_link(info), raw.tell(), _opener(tar, info))
    # tarfile takes a damaged or missing header for the end; the true end is a block of zeros.
    if meter.last != bytes(_BLOCK):
        raise InputError("the archive is damaged or incomplete, its end is missing: expected a whole one")
    while meter.read(1 << 20):  # whatever is wrong with the compressed stream shows at its end
        pass


def _decompressed(raw: IO[bytes]) -> Any:
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    return raw


def _opener(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        content = tar.extractfile(info)
        assert content is not None  # only files are opened
        return content

    return opened


def _checked_link(info: tarfile.TarInfo) -> str | None:
    """Return what a link repeats; refuse all that is not a file, a folder or a link."""
    if info.issparse():
        raise refused(info.name, "a sparse file")
    if not (info.isdir() or info.isreg() or info.issym() or info.islnk()):
        raise refused(info.name, "a device or pipe")
    target = None
    if info.issym():
        target = (PurePosixPath(info.name).parent / info.linkname).as_posix()
    elif info.islnk():
        target = info.linkname
    # Python 3.11.4 and later have this rule in `tarfile.data_filter`; names are checked where they are used.
    if target is not None and posixpath.normpath(target).startswith(("/", "..")):
        raise refused(info.name, "which leads out of the folder")
    return target


def _zip_members(raw: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(raw) as packed:
        position = 0
        for info in packed.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.header_offset < 0:
                raise InputError("the archive is damaged, its table of contents leads nowhere: expected a whole one")
            if info.flag_bits & 0x1:
                raise refused(info.orig_filename, "which is encrypted")
            if kind == stat.S_IFLNK:
                raise refused(info.orig_filename, "a symbolic link")
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise refused(info.orig_filename, "a device or pipe")
            # the name before zipfile cuts it at a zero byte
            yield Member(info.orig_filename, info.is_dir(), None, position, _zip_opener(packed, info))
            position += info.compress_size


def _zip_opener(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: packed.open(info)
