"""Public data sets from the web: where they are, what their licences allow, transfer, safe extraction."""

from discrepancy.inspection.download.fetch import Order, fetch, read_stamp
from discrepancy.inspection.download.sources import ELSEWHERE, SOURCES, Source, find_source

__all__ = ["ELSEWHERE", "SOURCES", "Order", "Source", "fetch", "find_source", "read_stamp"]
