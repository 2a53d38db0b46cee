"""Makes docs/pictures/graph.png: Kedro-Viz's graph of a pipeline, without the buttons around it.

    .venv/bin/python tools/graph_picture.py

Needs Chromium (Debian: `apt-get install chromium`; another browser of its family: `--browser /path`). Kedro-Viz builds
its static page into `build/`; the page is served on this machine only, drawn without a screen, and cropped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image, ImageChops

PROJECT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "microsoft-edge")
FLAGS = [
    "--headless",
    "--no-sandbox",  # as root Chromium does not start without it; the page is our own
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the page asks for a web font
    "--hide-scrollbars",
    "--virtual-time-budget=30000",  # ms in which the graph is laid out and drawn
]
SCALE = 2  # pixels of the picture per pixel of the page, for sharp text
MARGIN = 24  # px of the page, left around the graph

# Left out: toolbars, hints, version. Shown: the layers' bands, which otherwise appear under the mouse only.
STYLE = """
.pipeline-global-toolbar, .pipeline-sidebar, .pipeline-toolbar, .pipeline-primary-toolbar, .pipeline-minimap-container,
.pipeline-minimap-toolbar, .update-reminder-version-tag, .feature-hints, .feature-hints__highlightDot, .banner
  { display: none !important }
.pipeline-layer:nth-child(odd) { opacity: 1 !important }
* { transition: none !important; animation: none !important; shape-rendering: auto !important }
"""
SETTINGS = {"showFeatureHints": False, "visible": {"sidebar": False, "miniMap": False, "graph": True, "slicing": True}}


class Page(SimpleHTTPRequestHandler):
    """Serves Kedro-Viz's build; its first page gets our style and the settings that a browser would remember."""

    def __init__(self, *arguments: object, head: str, **options: object) -> None:
        self.head = head
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path.split("?")[0] != "/":
            super().do_GET()
            return
        page = Path(self.directory, "index.html").read_text(encoding="utf-8")
        body = page.replace("<head>", f"<head>{self.head}", 1).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def draw(build: Path, query: str, *, theme: str, size: tuple[int, int], browser: str) -> Image.Image:
    """The page as Chromium draws it in a window of width x height px."""
    settings = json.dumps(json.dumps({**SETTINGS, "theme": theme}))
    head = f"<style>{STYLE}</style><script>localStorage.setItem('KedroViz', {settings})</script>"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, directory=str(build), head=head))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shot = Path(folder) / "shot.png"
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", f"--force-device-scale-factor={SCALE}"]
        command += [f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}"]
        command += [f"http://127.0.0.1:{server.server_port}/?{query}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        server.shutdown()
        if not shot.is_file():
            sys.exit(f"{browser} drew nothing:\n{done.stderr[-2000:]}")
        with Image.open(shot) as picture:
            return picture.convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    """The picture without its empty border, but for a margin; the layers' pale bands count as empty."""
    background = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    box = ImageChops.difference(picture, background).point(lambda value: 255 * (value > 40)).getbbox()
    if box is None:
        sys.exit("The page is empty; expected a graph")
    margin = MARGIN * SCALE
    left, top, right, bottom = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return picture.crop((max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)))


def main() -> None:
    """Build, draw, crop, save."""
    parser = argparse.ArgumentParser(description="Make a picture of a pipeline's graph in Kedro-Viz.")
    parser.add_argument("--pipeline", default="dfc")
    parser.add_argument("--collapse", action="store_true", help="one box per namespace, as Kedro-Viz opens")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--size", default="1000x1600", help="of the window, px")
    parser.add_argument("--output", type=Path, default=PROJECT / "docs/pictures/graph.png")
    parser.add_argument("--browser", default=next((name for name in BROWSERS if shutil.which(name)), "chromium"))
    options = parser.parse_args()
    if shutil.which(options.browser) is None:
        sys.exit(
            f"{options.browser} not found; expected Chromium (Debian: apt-get install chromium), or --browser /path"
        )

    kedro = [sys.executable, "-m", "kedro", "viz", "build"]
    subprocess.run(kedro, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    query = urlencode({"pid": options.pipeline, "expandAllPipelines": str(not options.collapse).lower()})
    width, height = (int(part) for part in options.size.split("x"))
    picture = cropped(
        draw(PROJECT / "build", query, theme=options.theme, size=(width, height), browser=options.browser)
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(64, dither=Image.Dither.NONE).save(options.output, optimize=True)
    size = options.output.stat().st_size / 1000
    sys.stdout.write(f"{options.output}: {picture.width} x {picture.height} px, {size:.0f} kB\n")


if __name__ == "__main__":
    main()
