"""Public data sets from the web: where they are, what their licences allow, transfer, safe extraction."""

from discrepancy.download.fetch import DownloadRequest, fetch, read_manifest
from discrepancy.download.sources import ELSEWHERE, SOURCES, DatasetSource, find_source

__all__ = ["ELSEWHERE", "SOURCES", "DatasetSource", "DownloadRequest", "fetch", "find_source", "read_manifest"]
