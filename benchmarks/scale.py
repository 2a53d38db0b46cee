"""What many images cost: photographs per second beside Pillow alone, and memory against the number of images.

    python benchmarks/scale.py --rate            # 5,000 PNG files of 1024x1024 px, 8 GB: ingestion beside Pillow
    python benchmarks/scale.py --memory          # whole runs on 1,000 and on 10,000 small images: peak memory

`--rate` compares, per core, the whole of ingestion (finding, hashing, checking, decoding, resizing, writing the array)
with Pillow decoding the same files and doing nothing else. Both run on all cores, in turns, on the same slices of the
files, so that a slow minute of the machine slows both.

`--memory` starts whole Kedro runs and watches the process: `anonymous_mib` is what it needs (RssAnon), `mapped_mib`
what of its programs and memory-mapped files happens to lie in memory (RssFile), which the system takes back at will.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from discrepancy.data.images import image_array
from discrepancy.data.layouts import read_samples
from discrepancy.data.lazy_array import usable_cores
from discrepancy.datasets import ArrayDataset

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SIDE = 1024
SLICES = 10


def write_photographs(folder: Path, count: int) -> None:
    """Photographs that no two share a byte of: smooth shapes and sensor noise, rolled by another step each."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    shades = [127 + 60 * np.sin(9 * rows + phase) * np.cos(7 * columns - phase) for phase in range(3)]
    base = np.clip(np.stack(shades, -1) + rng.normal(0, 2, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)

    def write(number: int) -> None:
        split = "test" if number % 50 == 0 else "train"
        picture = np.roll(base, (number // SIDE, number % SIDE), (0, 1))
        Image.fromarray(picture).save(folder / f"{split}/good/{number:05d}.png", compress_level=3)

    for split in ("train", "test"):
        (folder / f"{split}/good").mkdir(parents=True)
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(write, range(count)))


def pillow_alone(paths: list[Path]) -> None:
    """Decode, and nothing else."""

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(decode, paths))


def measure_rate(count: int, size: int) -> dict[str, Any]:
    """Images per second and core of ingestion, and of Pillow alone."""
    cores = usable_cores()
    with tempfile.TemporaryDirectory(prefix="scale-", dir=ROOT / "data") as scratch:
        root = Path(scratch)
        write_photographs(root / "part", count)
        table = read_samples("mvtec_ad", root, "part")  # finding and hashing all files, timed below
        seconds = {"ingestion": 0.0, "pillow": 0.0}
        began = time.perf_counter()
        read_samples("mvtec_ad", root, "part")
        seconds["ingestion"] += time.perf_counter() - began
        for part in np.array_split(np.arange(len(table)), SLICES):
            rows = table.iloc[part]
            paths = [root / name for name in rows["image"]]
            target = ArrayDataset(filepath=str(root / "images.npy"))
            array = image_array(rows, root, (size, size))
            seconds["pillow"] += timed(lambda paths=paths: pillow_alone(paths))
            seconds["ingestion"] += timed(lambda target=target, array=array: target.save(array))
        bytes_each = sum(path.stat().st_size for path in (root / "part").rglob("*.png")) / count
    rates = {name: count / value / cores for name, value in seconds.items()}
    return {
        "images": count,
        "megabytes_each": bytes_each / 2**20,
        "cores": cores,
        "ingestion_per_second_and_core": rates["ingestion"],
        "pillow_per_second_and_core": rates["pillow"],
        "ratio": rates["ingestion"] / rates["pillow"],
    }


def timed(do: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def write_small(folder: Path, count: int, side: int = 64) -> None:
    """Small grey discs: four fifths good ones to train on, a fifth to test, of these 20 with a defect and its mask."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] - side / 2
    disc = 60 + 80 * (np.hypot(rows, columns) < side / 3)
    for split in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (folder / split).mkdir(parents=True)
    for number in range(count):
        picture = (disc + rng.normal(0, 5, disc.shape)).astype(np.uint8)
        place = "test/spot" if number < 20 else "test/good" if number < count // 5 else "train/good"
        if place == "test/spot":
            picture[20:30, 25:35] = 250
            mask = np.zeros_like(picture)
            mask[20:30, 25:35] = 255
            Image.fromarray(mask).save(folder / f"ground_truth/spot/{number:06d}_mask.png")
        Image.fromarray(picture).save(folder / f"{place}/{number:06d}.png", compress_level=1)


def watched(command: list[str], folder: Path) -> dict[str, float]:
    """Peaks of a process's memory, MiB, while it runs, and its seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks = {"RssAnon": 0, "RssFile": 0}

    def watch() -> None:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(value.split()[0]))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    errors = process.communicate()[1]
    watcher.join()
    if process.returncode:
        raise RuntimeError(errors)
    return {
        "anonymous_mib": peaks["RssAnon"] / 1024,
        "mapped_mib": peaks["RssFile"] / 1024,
        "seconds": time.perf_counter() - began,
    }


def measure_memory(counts: list[int]) -> list[dict[str, Any]]:
    """Peak memory of whole runs, for each number of images."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="scale-", dir=ROOT / "data") as scratch:
            project = Path(scratch) / "project"
            project.mkdir()
            shutil.copytree(ROOT / "conf", project / "conf")
            shutil.copy(ROOT / "pyproject.toml", project)
            (project / "src").mkdir()
            write_small(Path(scratch) / "photographs/part", count)
            shared = f"dataset=folder,data_root={scratch}/photographs,category=part,image_size=64"
            quick = "dfr.epochs=1,dfr.latent_dim=16,dfr.batch_size=16,reporting.segmentations=false"
            for pipeline, more in (("inspect", ""), ("ingestion", ""), ("dfr", f",{quick}")):
                command = [sys.executable, "-m", "kedro", "run", f"--pipelines={pipeline}", f"--params={shared}{more}"]
                rows.append({"pipeline": pipeline, "images": count, **watched(command, project)})
                sys.stdout.write(f"{rows[-1]}\n")
    for row in rows:
        least = next(other for other in rows if other["pipeline"] == row["pipeline"])
        more = row["images"] - least["images"]
        growth = (row["anonymous_mib"] - least["anonymous_mib"]) * 1024 / more if more else float("nan")
        row["kib_per_further_image"] = growth
    return rows


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", action="store_true", help="photographs per second beside Pillow alone")
    parser.add_argument("--images", type=int, default=5000, help="for --rate: number of photographs (default 5000)")
    parser.add_argument("--size", type=int, default=256, help="for --rate: image_size, px (default 256)")
    parser.add_argument("--memory", action="store_true", help="peak memory against the number of images")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000], help="for --memory: numbers of images")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if options.rate:
        report: Any = measure_rate(options.images, options.size)
        sys.stdout.write(f"{json.dumps(report, indent=2)}\n")
        (RESULTS / "scale_rate.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.memory:
        report = measure_memory(options.counts)
        (RESULTS / "scale_memory.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if not (options.rate or options.memory):
        parser.error("expected --rate or --memory")


if __name__ == "__main__":
    main()
