"""Digests of archives: those that somebody published, and those of earlier downloads."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from discrepancy.atomic import replacing
from discrepancy.errors import InputError
from discrepancy.json_files import read_object

FILE: Final = "checksums.json"
_LENGTHS: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


def parse_checksum(text: str) -> str:
    """Return `algorithm:digits` in lower case.

    Raises:
        InputError: another form, an unknown algorithm, or a wrong number of digits.
    """
    algorithm, _, digits = text.strip().lower().partition(":")
    if not re.fullmatch(r"[0-9a-f]+", digits) or _LENGTHS.get(algorithm) != len(digits):
        raise InputError(f"checksum is {text!r}: expected {', '.join(_LENGTHS)}, a colon, and all of its digits")
    return f"{algorithm}:{digits}"


@dataclass(frozen=True)
class Expected:
    """The digest that an archive should have.

    Attributes:
        value: `algorithm:digits`; None if nobody knows it.
        origin: who says so, and how to overrule it, for messages.
    """

    value: str | None
    origin: str

    def mismatch(self, archive: Path, found: str) -> InputError:
        """Return the error that shows both."""
        return InputError(
            f"{archive.name} is not the file that was expected: its checksum is {found}; expected {self.value} "
            f"({self.origin}). It is damaged, or another version of the data set"
        )


class Records:
    """A JSON file that remembers, by url, the digests of archives that were unpacked without a fault."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def expected(self, url: str, published: str | None) -> Expected:
        """Return what the archive at `url` should have: what was published, else what an earlier download had."""
        if published is not None:
            return Expected(published, "as published; download.checksum=none overrules that")
        return Expected(
            self._read().get(url), f"as at its first download; removing its line in {self._path} overrules that"
        )

    def add(self, url: str, checksum: str) -> None:
        """Remember a digest."""
        known = self._read() | {url: checksum}
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        try:
            return {url: parse_checksum(checksum) for url, checksum in read_object(self._path).items()}
        except (InputError, AttributeError) as error:
            raise InputError(
                f"{self._path} cannot be read ({error}): expected a JSON object of urls and checksums; "
                "if it is damaged, remove it"
            ) from error
