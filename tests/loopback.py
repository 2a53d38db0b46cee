"""A web server on loopback that can misbehave, and counts what it sends."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file. `cuts` are the numbers of bytes after which the first, second, ... answer breaks off (None: whole)."""

    data: bytes
    etag: str | None = '"1"'
    ranges: bool = True
    if_range: bool = True
    cuts: list = field(default_factory=list)
    always_cut: int | None = None
    announce: int | None = None
    statuses: list = field(default_factory=list)
    kind: str = "application/octet-stream"
    piece: int = 65536
    pause: float = 0.0
    ranges_asked: list = field(default_factory=list)
    sent: list = field(default_factory=list)

    def change(self, data, etag):
        self.data, self.etag = data, etag


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        served = self.server.files.get(self.path)
        if served is None:
            self.send_error(404)
            return
        number, asked = len(served.ranges_asked), self.headers.get("Range")
        served.ranges_asked.append(asked)
        served.sent.append(0)
        status = served.statuses[number] if number < len(served.statuses) else 200
        if status != 200:
            self.send_error(status)
            return
        start, data = 0, served.data
        same = not served.if_range or self.headers.get("If-Range") == served.etag
        if asked and served.ranges and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if served.etag:
            self.send_header("ETag", served.etag)
        self.send_header("Content-Type", served.kind)
        self.send_header("Content-Length", str(served.announce or len(data) - start))
        self.end_headers()
        cut = served.cuts[number] if number < len(served.cuts) else served.always_cut
        end = len(data) if cut is None else min(len(data), start + cut)
        try:
            while start < end:
                piece = data[start : min(end, start + served.piece)]
                self.wfile.write(piece)
                start += len(piece)
                served.sent[number] += len(piece)
                time.sleep(served.pause)
        except OSError:  # the client is gone
            pass


@contextmanager
def serving(**files):
    """Serve `name: Served`; gives a function from a name to its address. Dots in names are written `__`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files = {f"/{name.replace('__', '.')}": served for name, served in files.items()}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield lambda name: f"http://127.0.0.1:{server.server_port}/{name.replace('__', '.')}"
    finally:
        server.shutdown()
        server.server_close()
