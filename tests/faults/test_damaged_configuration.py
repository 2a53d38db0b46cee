"""Damaged configuration files: one error that names the file, or a right value; nothing executed."""

from __future__ import annotations

import shutil

import pytest

from discrepancy.errors import InputError
from discrepancy.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS
from tests.conftest import PROJECT
from tests.faults.damage import BYTES, MARKER, PLACES, whole
from tests.faults.damaged_values import YAML

pytest.importorskip("discrepancy.config_loader", reason="the loader that names the file")

CHANGES = {name: whole(change) for name, change in BYTES.items()}
CHANGES |= {name: change for name, change in PLACES.items() if name not in {"a pipe", "missing"}}
CHANGES |= {f"{name} in it": whole(lambda data, more=more: data + more) for name, more in YAML.items()}
CHANGES |= {f"{name} alone": whole(lambda data, more=more: more) for name, more in YAML.items()}


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    """Parameters alone: the catalog is not read here."""
    folder = tmp_path_factory.mktemp("project") / "conf"
    (folder / "base").mkdir(parents=True)
    (folder / "local").mkdir()
    for name in ("globals.yml", "parameters.yml", "parameters_dfc.yml"):
        shutil.copy(PROJECT / "conf/base" / name, folder / "base")
    return folder


@pytest.mark.parametrize("damage", CHANGES)
def test_a_damaged_configuration_is_named_or_does_no_harm(damage, conf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(conf, tmp_path / "conf")
    CHANGES[damage](tmp_path / "conf/base/globals.yml")
    before = set(tmp_path.rglob("*"))
    try:
        loader = CONFIG_LOADER_CLASS(tmp_path / "conf", env="local", **CONFIG_LOADER_ARGS)
        for key in ("globals", "parameters"):
            assert isinstance(loader[key], dict)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        assert ".yml" in str(error) or "conf" in str(error), error  # or that which misses what it held
    assert set(tmp_path.rglob("*")) == before
    assert not (tmp_path / MARKER).exists()
