"""Parameters of the download pipeline."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from discrepancy.download.checksums import parse_checksum
from discrepancy.parameters import Parameters

PUBLISHED: Final = "published"
NONE: Final = "none"


class DownloadParameters(Parameters):
    """A data set to download, and how."""

    dataset: str = Field(description="one of those that can be downloaded")
    data_root: str | None = Field(None, description="its folder, if it was given")
    accept_license: bool = Field(False, description="whether the user agrees to the data set's licence")
    url: str | None = Field(None, description="a mirror of the archive; null for the address of its authors")
    checksum: str = Field(
        PUBLISHED,
        description="published, algorithm:digits of a mirror's own archive, or none: then the digest of the first "
        "download is what later ones are compared with",
    )
    keep_archive: bool = Field(False, description="leave the archive in .downloads, beside the data set")
    timeout: float = Field(30.0, gt=0, le=3600, description="seconds to wait for the server")
    retries: int = Field(5, ge=0, le=100, description="further attempts, in a row without progress")

    @field_validator("url")
    @classmethod
    def _web(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
            raise ValueError("expected an address that begins with http:// or https://")
        return value

    @field_validator("checksum")
    @classmethod
    def _digest(cls, value: str) -> str:
        return value if value in {PUBLISHED, NONE} else parse_checksum(value)
