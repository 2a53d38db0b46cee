"""Pages drawn by Chromium without a screen, for the documents' pictures."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "microsoft-edge")
FLAGS = [
    "--headless",
    "--no-sandbox",  # as root Chromium does not start without it; the pages are our own
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # Kedro-Viz's page asks for a web font
    "--hide-scrollbars",
    "--virtual-time-budget=30000",  # ms in which the page is laid out and drawn
]
SCALE = 2  # pixels of the picture per pixel of the page, for sharp text
MARGIN = 24  # px of the page, left around what is drawn


def add_options(parser: argparse.ArgumentParser, *, size: str, output: Path) -> None:
    """The options that every picture has."""
    parser.add_argument("--size", default=size, help="of the window, px")
    parser.add_argument("--output", type=Path, default=output)
    parser.add_argument("--browser", default=next((name for name in BROWSERS if shutil.which(name)), "chromium"))


def draw(address: str, options: argparse.Namespace, *flags: str) -> Image.Image:
    """The page at this address, without its empty border.

    Raises:
        SystemExit: there is no such browser, or it drew nothing.
    """
    if shutil.which(options.browser) is None:
        sys.exit(
            f"{options.browser} not found; expected Chromium (Debian: apt-get install chromium), or --browser /path"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shot = Path(folder) / "shot.png"
        command = [options.browser, *FLAGS, *flags, f"--user-data-dir={folder}/profile"]
        command += [f"--force-device-scale-factor={SCALE}", f"--window-size={options.size.replace('x', ',')}"]
        command += [f"--screenshot={shot}", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if not shot.is_file():
            sys.exit(f"{options.browser} drew nothing:\n{done.stderr[-2000:]}")
        with Image.open(shot) as picture:
            return cropped(picture.convert("RGB"))


def cropped(picture: Image.Image) -> Image.Image:
    """The picture without its empty border, but for a margin; a graph's pale bands of layers count as empty."""
    background = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    box = ImageChops.difference(picture, background).point(lambda value: 255 * (value > 40)).getbbox()
    if box is None:
        sys.exit("The page is empty; expected something drawn")
    margin = MARGIN * SCALE
    left, top, right, bottom = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return picture.crop((max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)))


def save(picture: Image.Image, output: Path, *, colours: int) -> None:
    """Write it as a small PNG file, and say how small."""
    output.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(colours, dither=Image.Dither.NONE).save(output, optimize=True)
    size = output.stat().st_size / 1000
    sys.stdout.write(f"{output}: {picture.width} x {picture.height} px, {size:.0f} kB\n")
