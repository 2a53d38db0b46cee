"""`kedro features`: the list, and what is deleted of it."""

import subprocess
import sys
from contextlib import chdir

import numpy as np
import pytest
from click.testing import CliRunner

from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import LazyFeatures
from discrepancy.features_command import features
from discrepancy.tracking import live
from tests.conftest import make_project

pytestmark = pytest.mark.sessions


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("features") / "project")


@pytest.fixture
def project(empty_project):
    """Return a project with two entries in its cache."""
    for number in (1, 2):

        def batches(number=number):
            yield {"a": np.full((3, 2, 64, 64), number, np.float32)}

        lazy = LazyFeatures({"mean_of": "x", "first": number}, {"a": (3, 2, 64, 64)}, "float32", batches)
        FeatureCache(empty_project / "data/04_feature/cache").get(lazy)
    return empty_project


def invoke(project, *arguments):
    with chdir(project):
        return CliRunner().invoke(features, arguments)


def left(project):
    return {path.parent.name for path in (project / "data/04_feature/cache").glob("*/card.json")}


def test_the_list_shows_every_entry_and_the_sum(project):
    result = invoke(project, "list")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[:3] == ["entry", "size", "images"]
    assert {line.split()[0] for line in lines[1:3]} == left(project)
    assert lines[3].startswith("2 entries, 0.2 MiB in ") and lines[3].endswith("free")


def test_nothing_is_deleted_in_a_dry_run_or_while_a_run_is_in_progress(project, monkeypatch):
    before = left(project)
    assert "would delete 2 entries" in invoke(project, "drop", "--all", "--dry-run").output
    with live._place(project):
        result = invoke(project, "drop", "--all")
    assert result.exit_code == 1 and "1 run(s) of this project are in progress" in result.output
    assert left(project) == before


def test_named_entries_are_deleted_then_all(project):
    gone, kept = sorted(left(project))
    assert "deleted 1 entry, 0.1 MiB" in invoke(project, "drop", gone[:8]).output
    assert left(project) == {kept}
    assert "deleted 0 entries" in invoke(project, "drop", "--unused-for=1").output
    assert "deleted 1 entry" in invoke(project, "drop", "--all").output
    assert left(project) == set()
    assert invoke(project, "list").output.startswith("0 entries, 0.0 MiB")


@pytest.mark.parametrize("arguments", [[], ["--all", "abc"], ["--all", "--unused-for=1"]])
def test_it_must_be_said_what_to_delete(project, arguments):
    result = invoke(project, "drop", *arguments)
    assert result.exit_code == 1 and "expected names of entries, or --unused-for=DAYS, or --all" in result.output


def test_commands_that_only_talk_do_not_import_pytorch():
    """It takes seconds, which `kedro --help` and the message about a slip need not."""
    code = "import sys, discrepancy.cli, discrepancy.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
