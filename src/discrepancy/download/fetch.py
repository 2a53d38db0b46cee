"""A public data set on disk: archive fetched and checked, unpacked beside its place, put there whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pooch

from discrepancy.download.archives import unpack
from discrepancy.download.checksums import Expected, Records, checksum_of
from discrepancy.download.inventory import inventory
from discrepancy.download.sources import DatasetSource
from discrepancy.download.transfer import PAUSE, Transfer, TransferError
from discrepancy.errors import InputError
from discrepancy.json_files import read_object

if sys.platform != "win32":
    import fcntl

STAMP: Final = ".downloaded.json"
DOWNLOADS: Final = ".downloads"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadRequest:
    """What to download, and how.

    Attributes:
        source: the data set; url and checksum may be those of a mirror.
        keep_archive: leave the archive in its folder afterwards.
        timeout: seconds to wait for the server, at the start and for each further piece.
        retries: attempts after one that was cut, in a row without progress.
        pause: seconds before the first of them.
    """

    source: DatasetSource
    keep_archive: bool = False
    timeout: float = 30.0
    retries: int = 5
    pause: float = PAUSE


def fetch(order: DownloadRequest, target: Path) -> dict[str, Any]:
    """Download a data set into the folder `target`, unless it is there; its stamp, see `read_stamp`.

    The archive goes to `.downloads` beside `target`; one that lies there already is used without a network. It is
    removed at the end.

    Raises:
        InputError: `target` holds something else, the disk is too full, the network or the server failed, the archive
            has another digest, is damaged, hostile or not this data set; says what to do.
    """
    source, target = order.source, target.expanduser().resolve()
    if (stamp := _present(source, target)) is not None:
        logger.info("%s is already there, in %s", source.title, target)
        return stamp
    downloads = target.parent / DOWNLOADS
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with _alone(downloads / f"{source.archive}.lock"):
            if (stamp := _present(source, target)) is not None:  # of another process, meanwhile
                return stamp
            return _fetch(order, target, downloads)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise InputError(
            f"{source.title} could not be written below {target.parent}: {error.strerror or error}{place}. "
            "Expected a folder that can be written to, with enough free space; give another one as data_root=..."
        ) from error


def read_stamp(target: Path) -> dict[str, Any] | None:
    """What a downloaded folder says about itself; None if it says nothing readable.

    Its keys: `dataset`, `title`, `url`, `checksum` of the archive, `downloaded` (UTC), `licence` (name, url, allows),
    `citation`, `categories` (by name: numbers of images by split).
    """
    try:
        stamp = read_object(target / STAMP)
    except InputError:
        return None
    texts = all(isinstance(stamp.get(name), str) for name in ("dataset", "title", "citation"))
    tables = all(isinstance(stamp.get(name), dict) for name in ("licence", "categories"))
    return stamp if texts and tables else None


def _present(source: DatasetSource, target: Path) -> dict[str, Any] | None:
    """The stamp of a finished download; None if the place is free."""
    stamp = read_stamp(target)
    if stamp is not None and stamp["dataset"] == source.name:
        return stamp
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        what = f"the data set {stamp['dataset']}" if stamp else f"something that was not downloaded (no {STAMP})"
        raise InputError(
            f"{target} holds {what}: expected a free place for {source.title}. Nothing was changed. If it is the data "
            "set, it can be used as it is; else move it away, or give another folder as data_root=..."
        )
    return None


def _fetch(order: DownloadRequest, target: Path, downloads: Path) -> dict[str, Any]:
    source, archive = order.source, downloads / order.source.archive
    scratch_prefix = f".{target.name}.unpacking-"
    for leftover in target.parent.glob(f"{scratch_prefix}*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    records = Records(downloads)
    expected = records.expected(source.url, source.checksum)
    by_hand = archive.is_file()
    checksum = _check(archive, expected) if by_hand else _transfer(order, archive, expected)
    _check_space(source, target.parent, 0, archive.stat().st_size)
    with tempfile.TemporaryDirectory(prefix=scratch_prefix, dir=target.parent) as scratch:
        fresh = Path(scratch) / "new"
        try:
            unpack(archive, fresh, limit=2 * source.extracted_bytes)
            if source.wrapper and (fresh / source.wrapper).is_dir():
                fresh = fresh / source.wrapper
            stamp = _stamp(source, checksum, inventory(source.name, fresh))
        except InputError as error:
            if not by_hand:
                archive.unlink(missing_ok=True)  # or the next run would stumble over it
            text = str(error).replace(str(fresh), archive.name)
            after = f"Remove {archive}" if by_hand else "It was removed"
            raise InputError(
                f"{archive.name} cannot be used as {source.title}: {text}. {after}, and get it again; for a mirror, "
                "see download.url and download.checksum"
            ) from error
        (fresh / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        if target.exists():
            target.rmdir()  # empty
        fresh.rename(target)
    if source.checksum is None:
        records.add(source.url, checksum)
    if not order.keep_archive:
        archive.unlink()
    return stamp


def _check(archive: Path, expected: Expected) -> str:
    """The digest of an archive that lies there already."""
    logger.info("%s is there, nothing is transferred", archive)
    algorithm = expected.value.partition(":")[0] if expected.value else "sha256"
    found = checksum_of(archive, algorithm)
    if expected.value not in {found, None}:
        raise InputError(f"{expected.mismatch(archive, found)}. Remove {archive} and get it again")
    return found


def _transfer(order: DownloadRequest, archive: Path, expected: Expected) -> str:
    """Download the archive; its digest."""
    source, folder = order.source, archive.parent

    def room(size: int) -> None:
        there = transfer.part.stat().st_size if transfer.part.exists() else 0
        _check_space(source, folder, size, there + size)

    transfer = Transfer(
        archive.with_name(f"{archive.name}.part"),
        timeout=order.timeout,
        retries=order.retries,
        room=room,
        pause=order.pause,
    )
    if source.archive_bytes is not None:
        there = transfer.part.stat().st_size if transfer.part.exists() else 0
        _check_space(source, folder, max(0, source.archive_bytes - there), source.archive_bytes)
    logger.info("downloading %s from %s", source.title, source.url)
    pooch.get_logger().setLevel(logging.ERROR)  # what it says is said here
    checking = archive.with_name(f"{archive.name}.checking")
    shutil.rmtree(checking, ignore_errors=True)  # of a process that was killed
    try:
        pooch.retrieve(source.url, expected.value, fname=archive.name, path=checking, downloader=transfer)
        (checking / archive.name).replace(archive)
    except InputError:
        raise
    except TransferError as error:
        raise InputError(_manual_steps(source, archive, str(error), transfer.part)) from error
    except ValueError as error:  # pooch's, about the digest; it has removed the file
        found = checksum_of(transfer.part, (expected.value or "").partition(":")[0]) if transfer.part.exists() else "?"
        transfer.forget()
        raise InputError(
            f"{expected.mismatch(archive, found)}, or the server sent something else. It was removed; try again, "
            f"or read {source.home}"
        ) from error
    finally:
        shutil.rmtree(checking, ignore_errors=True)
    transfer.forget()
    return expected.value or checksum_of(archive)


def _manual_steps(source: DatasetSource, archive: Path, reason: str, part: Path) -> str:
    checksum = f" ({source.checksum})" if source.checksum else ""
    kept = "What came is kept: the same command goes on from there. Or" if part.exists() else "Try again later, or"
    return (
        f"{source.title} could not be downloaded from {source.url}: {reason}. {kept} do it by hand:\n"
        f"  1. open {source.home} or {source.url} in a browser, on a machine with a network\n"
        f"  2. put the archive{checksum} at {archive}\n"
        f"  3. run the same command again; the archive is removed once it is unpacked, unless "
        f"download.keep_archive=true"
    )


def _check_space(source: DatasetSource, folder: Path, to_come: int, archive_bytes: int) -> None:
    """Refuse if what is still to come and the unpacked data set do not fit on the disk."""
    needed, free = to_come + source.space(archive_bytes), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{source.title} needs about {needed / 1e9:.1f} GB in {folder}, for the rest of the archive and what it "
            f"unpacks to; {free / 1e9:.1f} GB are free. Make room, or give a folder on another disk as data_root=..."
        )


def _stamp(source: DatasetSource, checksum: str, categories: dict[str, dict[str, int]]) -> dict[str, Any]:
    return {
        "dataset": source.name,
        "title": source.title,
        "url": source.url,
        "checksum": checksum,
        "downloaded": datetime.now(UTC).isoformat(timespec="seconds"),
        "licence": asdict(source.licence),
        "citation": source.citation,
        "categories": categories,
    }


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep a second process from writing the same files; the system lifts the lock if this one is killed."""
    with path.open("w") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"another process is downloading {path.with_suffix('')}: expected to be alone, wait for it to end"
                ) from error
        yield
