"""Everything that can be wrong in the configuration is one line that names the file."""

import os

import pytest

from discrepancy.config_loader import CarefulConfigLoader
from discrepancy.errors import InputError

BASE = {
    "globals.yml": "category: cable\nweights: auto\n",
    "parameters.yml": "category: ${globals:category}\ndfc: {epochs: 3, weights: '${globals:weights}', x: null}\n",
    "catalog.yml": "_category: ${runtime_params:category,${globals:category}}\nx:\n  filepath: data/${_category}\n",
}


@pytest.fixture
def conf(tmp_path):
    for name, text in BASE.items():
        write(tmp_path / "conf", name, text)
    return tmp_path / "conf"


def write(conf, name, text, *, environment="base"):
    (conf / environment).mkdir(parents=True, exist_ok=True)
    (conf / environment / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def load(conf, *, env=None, **params):
    return CarefulConfigLoader(conf, env=env, runtime_params=params, base_env="base", default_run_env="local")


def test_the_default_environment_may_be_missing(conf):
    assert load(conf)["parameters"]["dfc"]["epochs"] == 3
    assert load(conf, env="local")["globals"]["category"] == "cable"


def test_another_environment_that_is_missing_is_named_with_those_that_exist(conf):
    write(conf, "globals.yml", "category: gear\n", environment="paper")
    assert load(conf, env="paper")["globals"]["category"] == "gear"
    with pytest.raises(InputError, match=r"^--env: there is no folder 'papr' .*did you mean 'paper'.*base, paper"):
        load(conf, env="papr")


def test_a_folder_that_is_no_configuration(tmp_path):
    with pytest.raises(InputError, match="holds no folder 'base'"):
        load(tmp_path)
    (tmp_path / "a[1]").mkdir()
    with pytest.raises(InputError, match=r"a\[1\]: Kedro takes \[ \]"):
        load(tmp_path / "a[1]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("category: gear\nseed: [\n", "line 3, column 1"),
        ("a: 1\na: 2\n", "line 2, column 1: found duplicate key a"),
        ("- a\n- b\n", "holds a list"),
        (b"a: \xff\n", "utf-8"),
        (b"a: \x01\n", "#x0001"),
        ("weights: ${HOME}/x\n", "HOME.*home is ~"),
        ("weights: ${globals:\n", "cannot be read"),
        ("category: 01\n", "category is 1, a number; expected text, in quotes"),
        ("category: no\n", "category is False, a truth value"),
        ("category: 1e3\n", "category is 1000.0, a number"),
        ("category:\n", "category is None, nothing"),
        ("category: [a]\n", "category is .*a list"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(conf, text, said):
    write(conf, "globals.yml", text, environment="local")
    with pytest.raises(InputError, match=f"^conf/local/globals.yml.*{said}") as refused:
        load(conf)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ['"01"', "'1e3'", "nan", "01a", "2024-01-01"])
def test_names_in_quotes_stay_as_they_are(conf, text):
    write(conf, "globals.yml", f"category: {text}\n", environment="local")
    assert load(conf)["catalog"]["x"]["filepath"] == f"data/{text.strip(chr(34) + chr(39))}"


def test_a_number_for_a_name_from_a_session_is_refused(conf):
    with pytest.raises(InputError, match=r"^--params: category is 1, a number"):
        load(conf, category=1)["parameters"]


def test_no_parameter_is_taken_for_the_name_of_another_value(conf):
    for params in ({"category": "${x}"}, {"dfc": {"epochs": "${globals:category}"}}):
        with pytest.raises(InputError, match=r"^--params: \S+ is '\$\{"):
            load(conf, **params)


def test_home_in_paths_of_options_and_files(conf, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    write(conf, "globals.yml", "weights: ~/w.pth\ndata_folder: $HOME/out\n", environment="local")
    loader = load(conf, dfc={"blend_folder": "${HOME}/b"}, data_root="~/photos", category="$HOME")
    assert loader["globals"]["data_folder"] == "/home/me/out"
    parameters = loader["parameters"]
    assert parameters["dfc"] == {"epochs": 3, "weights": "/home/me/w.pth", "x": None, "blend_folder": "/home/me/b"}
    assert parameters["data_root"] == "/home/me/photos"
    assert loader["catalog"]["x"]["filepath"] == "data/$HOME" and parameters["category"] == "$HOME"  # a name, no path
    assert load(conf, data_root="a~b")["parameters"]["data_root"] == "a~b"


def test_where_a_value_comes_from(conf):
    write(conf, "parameters_dfc.yml", "dfc:\n  width: 8\n", environment="local")
    loader = load(conf, dfc={"blend_folder": "/b"})
    assert loader.origin("dfc.width") == os.path.join("conf", "local", "parameters_dfc.yml")
    assert loader.origin("dfc.epochs") == "conf/base/parameters.yml"
    assert loader.origin("dfc.weights") == "conf/base/globals.yml"
    assert loader.origin("dfc.blend_folder") == "--params"


def test_what_was_resolved_once_stays_unless_it_is_replaced(conf):
    """And nobody's changes reach another."""
    loader = load(conf)
    loader["parameters"]["dfc"]["epochs"] = "changed by whoever asked"
    assert loader["parameters"]["dfc"]["epochs"] == 3
    loader.runtime_params = {"dfc": {"epochs": 7}}
    assert loader["parameters"]["dfc"]["epochs"] == 7
    loader["parameters"] = {"dfc": 9}
    assert loader["parameters"] == {"dfc": 9}
    del loader["parameters"]
    assert loader["parameters"]["dfc"]["epochs"] == 7


def test_names_are_those_of_the_files(conf):
    write(conf, "parameters_more.yml", "_private: 1\nmore: 2\n")
    assert sorted(load(conf, unheard_of=2).names("parameters")) == ["category", "dfc", "more"]
