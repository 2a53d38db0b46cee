"""What `--params` gives, however it is written."""

import pytest

from discrepancy.errors import InputError
from discrepancy.params_option import parse_params, split_names


def test_several_options_all_count_and_the_later_value_wins():
    assert parse_params(["category=gear,seed=1", "image_size=96,dfc.epochs=3", "seed=2,dfc.width=8"]) == {
        "category": "gear", "seed": 2, "image_size": 96, "dfc": {"epochs": 3, "width": 8},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"data_root=/a\,b", "/a,b"),
        ('data_root="/a,b"', "/a,b"),
        ("data_root='/a,b' ", "/a,b"),
        ('data_root=/a"b', '/a"b'),
        ("data_root=O'Brien's", "O'Brien's"),
        ('data_root="a"b"', 'a"b'),
        (r"data_root=C:\d", r"C:\d"),
        ("data_root=a=b", "a=b"),
    ],
)
def test_commas_and_quotes_in_a_value(text, value):
    given = {"data_root": value, "category": "x"}
    assert parse_params([f"{text},category=x"]) == given
    assert parse_params([f"category=x,{text}"]) == given


@pytest.mark.parametrize("name", ["01", "1e3", "nan", "true", "null", "no", "0x1", "[M8]", "~", "2024-01-01", ""])
def test_names_stay_text_as_they_were_typed(name):
    assert parse_params([f"category={name},dfc.weights={name}"]) == {"category": name, "dfc": {"weights": name}}


def test_other_values_are_read_as_in_a_file_unless_they_are_in_quotes():
    given = parse_params(['seed=01,crop=null,tracked=true,image_size=[640,256],dfc.layers=[a, b],x="5"'])
    assert given == {
        "seed": 1, "crop": None, "tracked": True, "image_size": [640, 256], "dfc": {"layers": ["a", "b"]}, "x": "5",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data_root=/a,b", "'b' is no name=value.*in quotes"),
        ("=3", "'=3' is no name=value"),
        ("seed=[", "seed=.* cannot be read"),
        ("dfc=5,dfc.epochs=3", "dfc is given as 5 and as a group"),
    ],
)
def test_what_is_no_parameter_is_refused(text, said):
    with pytest.raises(InputError, match=f"^--params: {said}"):
        parse_params([text])


def test_names_in_a_list_may_have_commas():
    assert split_names(r"a\,b, c ,,d") == ["a,b", "c", "d"]
