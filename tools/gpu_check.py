"""What a GPU makes of the methods: numbers beside the CPU's, speed, memory, reproducibility, errors.

    python tools/gpu_check.py --out FILE.json [--device cuda] [--minutes 5] [--tiny]
        [--only SECTION ...] [--methods dfc ...] [--precisions bf16 ...] [--others FILE.json] [--note TEXT ...]
    python tools/gpu_check.py --table benchmarks/results/gpu_h100.json

Needs the core's packages alone and no network: images are synthetic and weights random, but for the embedded backbone's
where its package is installed. A section that fails leaves its error in the file, and the others go on; the file is
written anew after each, so that a run that was cut off leaves what it has. `--tiny --device cpu` tries all of it out.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from gpu_checks.determinism import determinism, strict
from gpu_checks.equality import equality
from gpu_checks.graph import graph
from gpu_checks.kernels import kernels
from gpu_checks.limits import devices, memory
from gpu_checks.machine import machine
from gpu_checks.options import Options
from gpu_checks.precision import MODES
from gpu_checks.settings import NAMES
from gpu_checks.speed import free, profile, projection, speed
from gpu_checks.training import training
from gpu_checks.variants import compiled, variants

Section = Callable[[Options, dict[str, Any]], None]

SECTIONS: dict[str, tuple[Section | None, float]] = {
    "machine": (machine, 30),
    "equality": (equality, 90),
    "speed": (speed, 130),
    "projection": (None, 5),
    "training": (training, 45),
    "graph": (graph, 45),
    "kernels": (kernels, 30),
    "determinism": (determinism, 90),
    "devices": (devices, 10),
    "memory": (memory, 40),
    "variants": (variants, 45),
    "profile": (profile, 60),
    "compiled": (compiled, 240),
}
"""In the order of their worth, with the seconds that each may take."""

EXTRA: dict[str, tuple[Section | None, float]] = {"strict": (strict, 110)}
"""Run by `determinism` in a process of its own."""


def main() -> None:
    options = parsed()
    if options.table:
        from gpu_checks.tables import document

        print(document(json.loads(options.table.read_text(encoding="utf-8"))))  # noqa: T201 (a command)
        return
    logging.disable(logging.WARNING)
    device = torch.device("cuda:0" if options.device == "cuda" else "cpu")
    deadline = time.monotonic() + 60 * options.minutes
    before = json.loads(options.others.read_text(encoding="utf-8"))["sections"] if options.others else {}
    report: dict[str, Any] = {"tiny": options.tiny, "notes": options.note, "sections": before}
    with tempfile.TemporaryDirectory() as folder:
        given = Options(device, options.tiny, Path(folder), tuple(options.methods), tuple(options.precisions))
        for name in options.only or SECTIONS:
            section, seconds = {**SECTIONS, **EXTRA}[name]
            report["sections"][name] = run(name, section, given, min(seconds, deadline - time.monotonic()), report)
            write(report, options.out)
            free(given)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=5, help="no section runs longer than these leave")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try it out")
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, *EXTRA], help="these sections")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=list(NAMES), help="these methods")
    parser.add_argument("--precisions", nargs="+", choices=MODES, default=list(MODES), help="these precisions")
    parser.add_argument("--others", type=Path, help="an earlier file, from which sections that are not run are taken")
    parser.add_argument("--note", nargs="+", default=[], help="sentences for the file, such as the commit measured")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, and measure nothing")
    options = parser.parse_args()
    if not options.table and not options.out:
        parser.error("--out FILE.json or --table FILE.json is needed")
    return options


def run(name: str, section: Section | None, options: Options, seconds: float, report: dict[str, Any]) -> dict[str, Any]:
    """One section's result, or what it had found when it failed or ran out of time."""
    found: dict[str, Any] = {}
    if seconds < 3:
        return {"seconds": 0.0, "error": "no time was left", "result": found}
    began = time.perf_counter()
    outcome: dict[str, Any] = {"result": found}
    try:
        with limited(seconds):
            if section is None:
                projection(options, found, report["sections"]["speed"]["result"])
            else:
                section(options, found)
    except Exception as error:  # a report of what went wrong is what this is for
        outcome |= {"error": f"{type(error).__name__}: {error}"[:2000], "traceback": traceback.format_exc()[-4000:]}
    outcome["seconds"] = time.perf_counter() - began
    sys.stderr.write(f"{name}: {outcome['seconds']:.1f} s {outcome.get('error', '')[:200]}\n")
    return outcome


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread after some seconds."""

    def end(*_: object) -> None:
        raise TimeoutError(f"ended after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write(report: dict[str, Any], path: Path) -> None:
    """Replace the file as a whole."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(written(report), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def written(value: Any) -> Any:
    """A value as JSON has it: a number that is not finite becomes a word."""
    if isinstance(value, dict):
        return {key: written(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [written(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
