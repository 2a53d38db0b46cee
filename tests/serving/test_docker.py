"""The container's steps: what they copy is there, and what they install serves a bundle."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.serving.test_server import Server

PROJECT = Path(__file__).parents[2]
DOCKERFILE = (PROJECT / "docker/Dockerfile").read_text()


def copied():
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_is_copied_is_there_and_not_ignored():
    kept = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied()) == kept
    assert all((PROJECT / source).exists() for source in copied())


def test_it_runs_as_nobody_and_is_watched():
    assert re.search(r"^USER [1-9]\d+$", DOCKERFILE, re.MULTILINE)
    assert "/health" in DOCKERFILE.partition("HEALTHCHECK")[2].partition("ENTRYPOINT")[0]


def test_what_is_installed_has_fixed_versions():
    fixed = {re.split("==", line)[0].lower() for line in (PROJECT / "constraints.txt").read_text().splitlines()}
    fixed = {name.replace("_", "-") for name in fixed}
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    assert all(re.match(r"[\w-]+", line)[0].lower() in fixed for line in extras)


@pytest.mark.slow
def test_its_steps_make_a_server_without_pytorch(tmp_path, bundle_folder, photos):
    for source in copied():
        target = tmp_path / "app" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", PROJECT / source, target], check=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(["docker/install.sh", str(python)], cwd=tmp_path / "app", check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout.lower()
    assert "onnxruntime" in listed and "torch" not in listed and "kedro" not in listed
    server = Server(bundle_folder, python=python, program=("-m", "discrepancy"))
    try:
        assert b'"decision":"anomalous"' in server.post((photos / "bad/scratched/11.png").read_bytes())[1]
    finally:
        server.process.kill()
        server.process.communicate()
