"""Makes docs/pictures/benchmark.png: the page of a benchmark, as it opens from disk.

    .venv/bin/python tools/page_picture.py

Needs Chromium (Debian: `apt-get install chromium`; another browser of its family: `--browser /path`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from graph_picture import BROWSERS, FLAGS, PROJECT, SCALE, cropped
from PIL import Image

BENCHMARK = PROJECT / "data/08_reporting/benchmark/demo"


def draw(page: Path, *, size: tuple[int, int], dark: bool, browser: str) -> Image.Image:
    """The page, in a window of width x height px.

    Raises:
        SystemExit: the browser drew nothing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shot = Path(folder) / "shot.png"
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--force-device-scale-factor={SCALE}"]
        command += [f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}"]
        command += ["--blink-settings=preferredColorScheme=0"] if dark else []
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=False)
        if not shot.is_file():
            sys.exit(f"{browser} drew nothing:\n{done.stderr[-2000:]}")
        with Image.open(shot) as picture:
            return picture.convert("RGB")


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description="Make a picture of a benchmark's page.")
    parser.add_argument("--page", type=Path, default=BENCHMARK / "page/index.html")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--size", default="1280x3000", help="of the window, px")
    parser.add_argument("--output", type=Path, default=PROJECT / "docs/pictures/benchmark.png")
    parser.add_argument("--browser", default=next((name for name in BROWSERS if shutil.which(name)), "chromium"))
    options = parser.parse_args()
    if shutil.which(options.browser) is None:
        sys.exit(
            f"{options.browser} not found; expected Chromium (Debian: apt-get install chromium), or --browser /path"
        )
    if not options.page.is_file():
        sys.exit(f"{options.page} not found; expected the page of a benchmark: run `kedro benchmark` first")
    width, height = (int(part) for part in options.size.split("x"))
    picture = cropped(draw(options.page.resolve(), size=(width, height), dark=options.dark, browser=options.browser))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(options.output, optimize=True)
    weight = options.output.stat().st_size / 1000
    sys.stdout.write(f"{options.output}: {picture.width} x {picture.height} px, {weight:.0f} kB\n")


if __name__ == "__main__":
    main()
