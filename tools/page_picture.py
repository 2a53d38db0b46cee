"""Makes docs/pictures/benchmark.png: the page of a benchmark, as it opens from disk.

    .venv/bin/python tools/page_picture.py

Needs Chromium (Debian: `apt-get install chromium`; another browser of its family: `--browser /path`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chromium import add_options, draw, save

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "data/08_reporting/benchmark/demo/page/index.html"
DARK = "--blink-settings=preferredColorScheme=0"


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description="Make a picture of a benchmark's page.")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--dark", action="store_true")
    add_options(parser, size="1280x3000", output=PROJECT / "docs/pictures/benchmark.png")
    options = parser.parse_args()
    if not options.page.is_file():
        sys.exit(f"{options.page} not found; expected the page of a benchmark: run `kedro benchmark` first")
    save(draw(options.page.resolve().as_uri(), options, *[DARK] * options.dark), options.output, colours=256)


if __name__ == "__main__":
    main()
