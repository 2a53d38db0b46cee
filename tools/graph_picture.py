"""Makes docs/pictures/graph.png: Kedro-Viz's graph of a pipeline, without the buttons around it.

    .venv/bin/python tools/graph_picture.py

Needs Chromium (Debian: `apt-get install chromium`; another browser of its family: `--browser /path`). Kedro-Viz builds
its static page into `build/`; the page is served on this machine only, drawn without a screen, and cropped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

from chromium import add_options, draw, save

PROJECT = Path(__file__).parents[1]
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


def served(build: Path, theme: str) -> ThreadingHTTPServer:
    """A server of the page, on this machine only, in a thread that ends with this process."""
    settings = json.dumps(json.dumps({**SETTINGS, "theme": theme}))
    head = f"<style>{STYLE}</style><script>localStorage.setItem('KedroViz', {settings})</script>"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, directory=str(build), head=head))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    """Build, draw, crop, save."""
    parser = argparse.ArgumentParser(description="Make a picture of a pipeline's graph in Kedro-Viz.")
    parser.add_argument("--pipeline", default="dfc")
    parser.add_argument("--collapse", action="store_true", help="one box per namespace, as Kedro-Viz opens")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    add_options(parser, size="1000x1600", output=PROJECT / "docs/pictures/graph.png")
    options = parser.parse_args()

    kedro = [sys.executable, "-m", "kedro", "viz", "build"]
    subprocess.run(kedro, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    query = urlencode({"pid": options.pipeline, "expandAllPipelines": str(not options.collapse).lower()})
    server = served(PROJECT / "build", options.theme)
    save(draw(f"http://127.0.0.1:{server.server_port}/?{query}", options), options.output, colours=64)


if __name__ == "__main__":
    main()
