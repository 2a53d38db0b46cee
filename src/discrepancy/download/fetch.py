"""A public data set on disk: archive fetched and checked, unpacked beside its place, put there whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from discrepancy.atomic import replacing
from discrepancy.download.archives import unpack
from discrepancy.download.checksums import Expected, Records
from discrepancy.download.inventory import inventory
from discrepancy.download.sources import DatasetSource
from discrepancy.errors import InputError
from discrepancy.json_files import read_object
from discrepancy.locks import file_lock
from discrepancy.transfer import PAUSE, ChecksumError, TransferError, checksum_of, download, part_of

MANIFEST: Final = ".downloaded.json"
"""In the folder of a data set that was downloaded."""
DOWNLOADS: Final = ".downloads"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadRequest:
    """A data set to download, and how.

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


def fetch(request: DownloadRequest, target: Path) -> dict[str, Any]:
    """Download a data set into the folder `target`, unless it is there.

    The archive goes to `.downloads` beside `target`; one that lies there already is used without a network. It is
    removed at the end. If another process downloads the same archive, this one waits for it.

    Returns:
        The manifest, see `read_manifest`.

    Raises:
        InputError: `target` holds something else, the disk is too full, or the network or the server failed. Or the
            archive has another digest, is damaged, hostile or not this data set. The message says what to do.
    """
    source, target = request.source, target.expanduser().resolve()
    if (manifest := _present(source, target)) is not None:
        logger.info("%s is already there, in %s", source.title, target)
        return manifest
    downloads = target.parent / DOWNLOADS
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with file_lock(downloads / f"{source.archive}.lock"):
            return _present(source, target) or _fetch(request, target, downloads)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise InputError(
            f"{source.title} could not be written below {target.parent}: {error.strerror or error}{place}. "
            "Expected a folder that can be written to, with enough free space; give another one as data_root=..."
        ) from error


def read_manifest(target: Path) -> dict[str, Any] | None:
    """Read what a downloaded folder says about itself; None if it says nothing readable.

    Its keys: `dataset`, `title`, `url`, `checksum` of the archive, `downloaded` (UTC), `licence` (name, url, allows),
    `citation`, `categories` (by name: numbers of images by split).
    """
    try:
        manifest = read_object(target / MANIFEST)
    except InputError:
        return None
    texts = all(isinstance(manifest.get(name), str) for name in ("dataset", "title", "citation"))
    tables = all(isinstance(manifest.get(name), dict) for name in ("licence", "categories"))
    return manifest if texts and tables else None


def _present(source: DatasetSource, target: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished download; None if the place is free."""
    manifest = read_manifest(target)
    if manifest is not None and manifest["dataset"] == source.name:
        return manifest
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        other = f"something that was not downloaded (no {MANIFEST})"
        what = f"the data set {manifest['dataset']}" if manifest else other
        raise InputError(
            f"{target} holds {what}: expected a free place for {source.title}. Nothing was changed. If it is the data "
            "set, it can be used as it is; else move it away, or give another folder as data_root=..."
        )
    return None


def _fetch(request: DownloadRequest, target: Path, downloads: Path) -> dict[str, Any]:
    source, archive = request.source, downloads / request.source.archive
    records = Records(downloads)
    expected = records.expected(source.url, source.checksum)
    by_hand = archive.is_file()
    checksum = _check(archive, expected) if by_hand else _transfer(request, archive, expected)
    _check_space(source, target.parent, 0, archive.stat().st_size)
    try:
        manifest = _put_in_place(source, archive, checksum, target)
    except InputError as error:
        if not by_hand:
            archive.unlink(missing_ok=True)  # or the next run would stumble over it
        after = f"Remove {archive}" if by_hand else "It was removed"
        raise InputError(
            f"{archive.name} cannot be used as {source.title}: {error}. {after}, and get it again; for a mirror, see "
            "download.url and download.checksum"
        ) from error
    if source.checksum is None:
        records.add(source.url, checksum)
    if not request.keep_archive:
        archive.unlink()
    return manifest


def _put_in_place(source: DatasetSource, archive: Path, checksum: str, target: Path) -> dict[str, Any]:
    """Unpack an archive, look whether it is the data set, and write its manifest."""
    with replacing(target) as fresh:
        unpacked = fresh.with_name(f"{fresh.name} unpacked")
        unpack(archive, unpacked, limit=2 * source.extracted_bytes)
        root = unpacked / source.wrapper if (unpacked / source.wrapper).is_dir() else unpacked
        try:
            categories = inventory(source.name, root)
        except InputError as error:
            raise InputError(str(error).replace(str(root), archive.name)) from error
        manifest = {
            "dataset": source.name,
            "title": source.title,
            "url": source.url,
            "checksum": checksum,
            "downloaded": datetime.now(UTC).isoformat(timespec="seconds"),
            "licence": asdict(source.licence),
            "citation": source.citation,
            "categories": categories,
        }
        (root / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        root.rename(fresh)
    return manifest


def _check(archive: Path, expected: Expected) -> str:
    """Return the digest of an archive that lies there already."""
    logger.info("%s is there, nothing is transferred; it is read once for its checksum", archive)
    algorithm = expected.value.partition(":")[0] if expected.value else "sha256"
    found = checksum_of(archive, algorithm)
    if expected.value not in {found, None}:
        raise InputError(f"{expected.mismatch(archive, found)}. Remove {archive} and get it again")
    return found


def _transfer(request: DownloadRequest, archive: Path, expected: Expected) -> str:
    """Download the archive; return its digest."""
    source, part = request.source, part_of(archive)

    def room(size: int) -> None:
        _check_space(source, archive.parent, size, _size(part) + size)

    if source.archive_bytes is not None:  # before any connection
        _check_space(source, archive.parent, max(0, source.archive_bytes - _size(part)), source.archive_bytes)
    logger.info("downloading %s from %s", source.title, source.url)
    try:
        return download(
            source.url,
            archive,
            checksum=expected.value,
            timeout=request.timeout,
            retries=request.retries,
            room=room,
            pause=request.pause,
        )
    except TransferError as error:
        raise InputError(_manual_steps(source, archive, str(error))) from error
    except ChecksumError as error:
        raise InputError(
            f"{expected.mismatch(archive, error.found)}, or the server sent something else. It was removed; try again, "
            f"or read {source.home}"
        ) from error


def _manual_steps(source: DatasetSource, archive: Path, reason: str) -> str:
    checksum = f" ({source.checksum})" if source.checksum else ""
    part = part_of(archive).exists()
    kept = "What came is kept: the same command goes on from there. Or" if part else "Try again later, or"
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


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
