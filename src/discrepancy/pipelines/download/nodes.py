"""Nodes of the download: the request, if the licence is accepted, and the closing message."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from discrepancy.download import DatasetSource, DownloadRequest, find_source
from discrepancy.errors import InputError
from discrepancy.methods.registry import DEFAULT
from discrepancy.pipelines.download.parameters import NONE, PUBLISHED, DownloadParameters

logger = logging.getLogger(__name__)


def request_download(parameters: DownloadParameters) -> DownloadRequest:
    """Return the request for the data set; the dataset that it is saved to carries it out.

    Raises:
        InputError: the data set is unknown or not downloaded, or its licence is not accepted: then it says what the
            licence is.
    """
    source = find_source(parameters.dataset)
    if not parameters.accept_license:
        raise InputError(_terms(source, _command("download", parameters, "accept_license=true")))
    logger.info("%s: %s, accepted (%s)", source.title, source.licence.name, source.licence.url)
    if parameters.url is not None:
        source = replace(source, url=parameters.url, archive_bytes=None)  # a mirror's archive may be another
    if parameters.checksum != PUBLISHED:
        source = replace(source, checksum=None if parameters.checksum == NONE else parameters.checksum)
    return DownloadRequest(
        source,
        keep_archive=parameters.keep_archive,
        timeout=parameters.timeout,
        retries=parameters.retries,
    )


def summarise(manifest: dict[str, Any], parameters: DownloadParameters) -> str:
    """Say where the data set lies, its categories with their numbers of images, and the command to go on with."""
    categories: dict[str, dict[str, int]] = manifest["categories"]
    width = max(len(name) for name in categories)
    lines = [f"{manifest['title']} lies in {manifest['folder']}, under {manifest['licence']['name']}"]
    for name, images in categories.items():
        lines.append(f"  {name:<{width}}  " + ", ".join(f"{count} {split}" for split, count in images.items()))
    lines.append(f"cite         {manifest['citation']}")
    lines.append(f"next         {_command(DEFAULT, parameters, f'category={next(iter(categories))}')}")
    return "\n".join(lines) + "\n"


def _terms(source: DatasetSource, command: str) -> str:
    return (
        f"{source.title} is published under a licence that you have to accept first.\n"
        f"  licence   {source.licence.name}, {source.licence.url}\n"
        f"  it says   {source.licence.allows}\n"
        f"  cite      {source.citation}\n"
        f"  read      {source.home}\n"
        f"To accept it: {command}"
    )


def _command(pipeline: str, parameters: DownloadParameters, more: str) -> str:
    root = f",data_root={parameters.data_root}" if parameters.data_root else ""
    return f"kedro run --pipelines={pipeline} --params=dataset={parameters.dataset}{root},{more}"
