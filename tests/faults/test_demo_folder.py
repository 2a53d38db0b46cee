"""The demo is never rendered among somebody's photographs."""

import pytest

from discrepancy.benchmark.command import Options, run_benchmark
from discrepancy.demo import render_category
from discrepancy.errors import InputError
from tests.conftest import PROJECT

SMALL = {"size": 32, "train": 1, "test_good": 0, "test_defective": 0}


@pytest.mark.parametrize("there", ["gear/train/good/0.png", "bolt/0.png", "0.png"])
@pytest.mark.parametrize("category", ["cable", "gear"])
def test_a_folder_that_holds_something_else_is_left_alone_and_dataset_is_named(tmp_path, there, category):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"was not rendered.*dataset=folder"):
        render_category(tmp_path, category, **SMALL)
    with pytest.raises(InputError, match="was not rendered"):
        run_benchmark(PROJECT, Options(["dfc"], ["all"], [0], {"data_root": str(tmp_path)}), say=print)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_its_own_gets_one_category_after_the_other(tmp_path):
    (tmp_path / ".gitkeep").touch()
    (tmp_path / "Thumbs.db").touch()
    for category in ("cable", "gear"):
        assert render_category(tmp_path, category, **SMALL).is_dir()


def test_a_name_that_is_no_demo_category_hints_at_dataset(tmp_path):
    with pytest.raises(InputError, match=r"'bolt'.*cable, gear, weave.*dataset=folder"):
        render_category(tmp_path, "bolt", **SMALL)
