"""Names that become folders: those that Kedro or the file system cannot take are refused at once."""

import pytest

from discrepancy.benchmark.plan import make_trials
from discrepancy.data.layouts import find_category
from discrepancy.errors import InputError
from discrepancy.names import check_name, check_path

GOOD = ["a b", "M8#2", "50%", "it's", '12"x', "部品", "a　b", "nan", "null", "01", "a,b", "x.", "$HOME", "~", "é" * 127]
BAD = [
    "bolt[M8]",
    "p{1}",
    "${x}",
    "a*",
    "a?",
    "",
    ".",
    "..",
    "a/b",
    "a\\b",
    "a\nb",
    "a\tb",
    " a",
    "a ",
    "é" * 128,
    "\udcff",
]


@pytest.mark.parametrize("name", GOOD)
def test_names_of_any_script_and_sign_are_taken(name):
    check_name("category", name)


@pytest.mark.parametrize("name", BAD)
def test_names_that_no_folder_of_a_run_can_have_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"^category is .*expected") as refused:
        check_name("category", name)
    assert len(str(refused.value)) < 250 and "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"^category is"):
        find_category("folder", tmp_path, name)


def test_the_characters_are_named():
    with pytest.raises(InputError, match=r"'bolt\[M8\]': expected a name without \[ \]"):
        check_name("category", "bolt[M8]")


def test_paths_are_taken_but_for_patterns():
    check_path("data_folder", "/a b/50%/部品, x")
    for path in ("a[1]", "x/{y}", "a*", "", "a\nb"):
        with pytest.raises(InputError, match=r"^data_folder is"):
            check_path("data_folder", path)


def test_a_benchmark_refuses_such_a_category_before_any_trial(tmp_path):
    for name in ("bolt", "bolt[M8]"):
        (tmp_path / name / "train/good").mkdir(parents=True)
        (tmp_path / name / "train/good/0.png").touch()
    assert len(make_trials({"dfc": [0]}, "folder", ["bolt"], tmp_path)) == 1
    with pytest.raises(InputError, match=r"^category is 'bolt\[M8\]'"):
        make_trials({"dfc": [0]}, "folder", ["all"], tmp_path)
