"""Whether the same training twice gives the same weights, and what forbids it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_checks.cases import Case, build_case, smooth_images
from gpu_checks.equality import subjects
from gpu_checks.options import Options

SCRIPT = Path(__file__).parents[1] / "gpu_check.py"


def determinism(options: Options, found: dict[str, Any]) -> None:
    """Train twice as it is, and once more under `torch.use_deterministic_algorithms`, in a process of its own.

    cuBLAS reads the setting that it needs for that when it starts.
    """
    found["as_it_is"] = compared(options)
    out = options.folder / "strict.json"
    command = [sys.executable, str(SCRIPT), "--only", "strict", "--device", options.device.type, "--out", str(out)]
    command += ["--methods", *options.methods]
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    process = subprocess.run(
        [*command, *(["--tiny"] if options.tiny else [])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(process.stderr[-1500:])
    found["deterministic_algorithms"] = json.loads(out.read_text(encoding="utf-8"))["sections"]["strict"]["result"]


def strict(options: Options, found: dict[str, Any]) -> None:
    """The same comparison with operations refused that have no reproducible algorithm."""
    torch.use_deterministic_algorithms(True)
    try:
        found["lines"] = compared(options)
    finally:
        torch.use_deterministic_algorithms(False)


def compared(options: Options) -> list[dict[str, Any]]:
    """Of each method and parameters, two trainings from one start."""
    lines, images = [], smooth_images(options.images, options.side)
    for method, name, parameters in subjects(options):
        line: dict[str, Any] = {"method": method, "parameters": name}
        try:
            case = build_case(method, parameters, images, folder=options.cache, device=options.device)
            one, two = _weights(case), _weights(case)
            line["equal"] = all(map(torch.equal, one, two))
            line["largest_difference"] = max(float((a - b).abs().max()) for a, b in zip(one, two, strict=True))
        except RuntimeError as error:
            line["error"] = str(error)[:300]
        lines.append(line)
    return lines


def _weights(case: Case) -> list[Tensor]:
    """Return the weights, on the CPU, after two epochs from the start."""
    case.restart()
    case.fit(replace(case.parameters.training(1), epochs=2, batch_size=min(case.parameters.batch_size, 4)))
    return [value.detach().cpu().clone() for value in case.module.state_dict().values()]
