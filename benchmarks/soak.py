"""A server under load for long: every good photograph gets its score, all garbage a 4xx, and memory stays.

    python benchmarks/soak.py --bundle data/06_models/demo/cable/dfc/bundle/dfc-demo-cable \
        --photographs data/01_raw/demo/cable/test

Clients send photographs, and among them garbage: cut off, text, bombs of pixels, wrong types, bodies that come slowly.
At the end the server is asked to stop while requests are under way. Writes benchmarks/results/soak.json.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from discrepancy.export.detect import Bundle, photographs_in

RESULTS = Path(__file__).parent / "results/soak.json"
PORT = 8765
SLOW = 3.0
"""Seconds that the server gives a client for a body."""


class Sent(NamedTuple):
    """A request and its answer."""

    kind: str
    status: int
    seconds: float
    right: bool
    memory: float


def garbage(photograph: bytes) -> dict[str, bytes]:
    """Return bodies that are no photographs, by kind; a slow one is sent slowly."""
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    return {
        "cut off": photograph[: len(photograph) // 2],
        "text": b"hello" * 100,
        "bomb": bomb.getvalue(),
        "wrong type": json.dumps({"file": "part.png"}).encode(),
        "empty": b"",
        "slow": photograph,
    }


def memory(process: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process, MB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def post(body: bytes, *, slowly: bool = False) -> tuple[int, dict[str, Any]]:
    """Send a body; return status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if slowly:
            connection.send(body[:100])
        else:
            connection.send(body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def started(bundle: Path) -> subprocess.Popen[bytes]:
    """Start the server, and wait until it answers."""
    command = [sys.executable, "-m", "discrepancy", "serve", "--bundle", str(bundle), "--port", str(PORT)]
    process = subprocess.Popen([*command, "--seconds", str(SLOW)])
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return process
        except ConnectionError:
            if process.poll() is not None:
                sys.exit("the server has ended; its message is above")
            time.sleep(0.05)


def main() -> None:
    """Send the requests, stop the server, and write what was found."""
    parser = argparse.ArgumentParser(description="Load a server for long.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--garbage", type=float, default=0.05, help="share of the requests (%(default)s)")
    given = parser.parse_args()
    bodies = {path: path.read_bytes() for path in photographs_in(given.photographs)}
    bundle = Bundle(given.bundle)
    scores = {
        path: bundle.results([path.name], [bundle.read(body, path.name)])[0].score for path, body in bodies.items()
    }
    wrong = garbage(next(iter(bodies.values())))
    rng = random.Random(0)
    plan: list[str | Path] = [
        rng.choice(list(wrong)) if rng.random() < given.garbage else rng.choice(list(bodies))
        for _ in range(given.requests)
    ]
    process = started(given.bundle)

    def send(what: str | Path) -> Sent:
        start = time.perf_counter()
        if isinstance(what, str):
            status, _ = post(wrong[what], slowly=what == "slow")
            return Sent(what, status, time.perf_counter() - start, 400 <= status < 500, memory(process))
        status, answer = post(bodies[what])
        seconds = time.perf_counter() - start
        near = status == 200 and abs(answer["score"] - scores[what]) <= 1e-5 * abs(scores[what])
        return Sent("photograph", status, seconds, near, memory(process))

    start = time.perf_counter()
    with ThreadPoolExecutor(given.clients) as pool:
        done = list(tqdm(pool.map(send, plan), total=len(plan), unit="request", disable=None))
        whole = time.perf_counter() - start
        last = [pool.submit(send, path) for path in list(bodies)[: given.clients]]
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        answered = sum(_is_right(future) for future in last)
    code = process.wait(60)
    result = summarise(done, whole, given) | {
        "under_way_at_the_end": len(last),
        "answered_of_these": answered,
        "exit_code": code,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))  # noqa: T201


def _is_right(future: Any) -> bool:
    try:
        return bool(future.result().right)
    except OSError:
        return False


def summarise(done: list[Sent], whole: float, given: argparse.Namespace) -> dict[str, Any]:
    """Return the numbers of a run."""
    good = [item for item in done if item.kind == "photograph"]
    share = min(1000, len(done) // 3)
    first, last = (float(np.median([item.memory for item in part])) for part in (done[:share], done[-share:]))
    return {
        "requests": len(done),
        "clients": given.clients,
        "bundle": given.bundle.name,
        "good": len(good),
        "good_with_the_right_score": sum(item.right for item in good),
        "garbage": {
            kind: dict(Counter(str(item.status) for item in done if item.kind == kind))
            for kind in sorted({item.kind for item in done} - {"photograph"})
        },
        "garbage_refused": sum(item.right for item in done if item.kind != "photograph"),
        "requests_per_second": round(len(done) / whole, 2),
        "milliseconds": {
            f"p{share}": round(1000 * float(np.percentile([item.seconds for item in good], share)), 1)
            for share in (50, 90, 99)
        },
        "memory_mb_first_1000": round(first, 1),
        "memory_mb_last_1000": round(last, 1),
        "memory_mb_highest": round(max(item.memory for item in done), 1),
    }


if __name__ == "__main__":
    main()
