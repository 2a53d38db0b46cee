"""The kernels against dense matrices in Triton's interpreter, and whether they compile for the GPUs in use."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from discrepancy.methods.fod import correlation
from discrepancy.methods.fod.targets import Gaussians

pytest.importorskip("triton", reason="Triton is not made for this system")

POINTERS = ("logits", "of_weights", "sigma", "of_sigma", "amounts", "factor", "found")
WHOLE = ("first", "height", "count")


@pytest.mark.sessions
def test_the_kernels_are_the_dense_matrices():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "tests.methods.fod.interpreted_kernels"]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    for deviations in json.loads(printed):
        assert max(deviations) < 2e-6, deviations


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", ["_objective", "_divergence"])
def test_the_kernels_compile(name, capability, monkeypatch, tmp_path):
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from discrepancy.methods.fod import correlation_kernels as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function, grid = getattr(kernels, name), (28, 32)
    sides = dict(zip(("ROWS", "COLUMNS", "HEIGHT", "WIDTH"), (*grid, *kernels._sides(grid)), strict=True))
    kinds = dict.fromkeys(POINTERS, "*fp32") | dict.fromkeys(WHOLE, "i32") | dict.fromkeys(sides, "constexpr")
    source = ASTSource(function, {argument: kinds.get(argument, "fp32") for argument in function.arg_names}, sides)
    result = compiled(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
    assert len(result.asm["cubin"]) > 1000


def test_a_row_that_is_too_large_takes_the_other_way(monkeypatch):
    from discrepancy.methods.fod import correlation_kernels as kernels

    assert kernels.fits((64, 64)) and kernels.fits((128, 128)) and not kernels.fits((129, 1 << 7))
    monkeypatch.setattr(correlation, "_kernels", lambda device: kernels)
    for dtype, grid, expected in [
        (torch.float32, (8, 8), kernels),
        (torch.float64, (8, 8), None),
        (torch.float32, (1 << 8, 1 << 8), None),
    ]:
        sigma = SimpleNamespace(is_cuda=True, dtype=dtype, device=torch.device("cuda"))
        assert correlation.kernels_for(Gaussians(sigma, grid)) is expected
    assert correlation.kernels_for(Gaussians(torch.ones(1, 1, 4, 2), (2, 2))) is None


def test_where_triton_does_not_run_pytorch_does(monkeypatch, caplog):
    def missing(name):
        raise ImportError(f"no {name} here")

    monkeypatch.setattr(correlation, "import_module", missing)
    correlation._kernels.cache_clear()
    with caplog.at_level("INFO"):
        assert correlation._kernels(torch.device("cuda:0")) is None
    assert "Triton does not run on cuda:0 (no discrepancy.methods.fod.correlation_kernels here)" in caplog.text
    correlation._kernels.cache_clear()
