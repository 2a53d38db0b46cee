"""Photographs under a light in a folder of their own: content, other parts, all or nothing, the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from discrepancy.atomic import UNFINISHED
from discrepancy.demo import CATEGORIES, DIM, Light, dataset, folder, render_category, render_photographs
from discrepancy.demo.__main__ import main
from discrepancy.demo.cable_defects import CABLE
from discrepancy.demo.picture import take
from discrepancy.errors import InputError

TINY: dict[str, int] = {"size": 32, "count": 2}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


# Content


@pytest.mark.parametrize("category", CATEGORIES)
def test_good_and_defective_photographs(tmp_path: Path, category: str) -> None:
    kinds = list(dataset.PARTS[category].defects)
    count = len(kinds) + 1
    place = render_photographs(tmp_path / "deep" / "dim", category, size=32, count=count, defective=True)
    assert place == tmp_path / "deep" / "dim"
    expected = {f"good/{i:03d}.png" for i in range(count)} | {f"defective/{kind}_000.png" for kind in kinds}
    assert names(place) == expected | {f"defective/{kinds[0]}_001.png"}
    assert os.listdir(place.parent) == ["dim"]


def test_files_hold_the_photographs_under_the_light_and_say_that_they_are_synthetic(tmp_path: Path) -> None:
    place = render_photographs(tmp_path / "dim", "cable", **TINY, seed=3, light=DIM, defective=True)
    for path, kind in (("good/001", None), ("defective/bent_strand_000", "bent_strand")):
        expected = take(CABLE, dataset.seeds_of(3, f"cable/{path}"), 32, kind, light=DIM)
        np.testing.assert_array_equal(pixels(place / f"{path}.png"), expected.image)
        with Image.open(place / f"{path}.png") as image:
            assert (image.mode, image.size) == ("RGB", (32, 32))
            assert image.info["Description"].startswith("Synthetic image")


def test_only_good_parts_unless_asked(tmp_path: Path) -> None:
    assert names(render_photographs(tmp_path / "good", "weave", **TINY)) == {"good/000.png", "good/001.png"}


def test_photographs_do_not_depend_on_the_count(tmp_path: Path) -> None:
    few = render_photographs(tmp_path / "few", "gear", **TINY, defective=True)
    many = render_photographs(tmp_path / "many", "gear", size=32, count=9, defective=True)
    assert all((few / name).read_bytes() == (many / name).read_bytes() for name in names(few))


# Other parts


def alike(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_the_same_seed_shows_the_same_parts_under_every_light_and_another_seed_others(tmp_path: Path) -> None:
    lights = {"usual": (0, Light(noise=0)), "dim": (0, Light(exposure=0.5, noise=0)), "other": (1, Light(noise=0))}
    for name, (seed, light) in lights.items():
        render_photographs(tmp_path / name, "gear", size=64, count=4, seed=seed, light=light)
    for number in range(4):
        usual, dim, other = (pixels(tmp_path / name / f"good/{number:03d}.png") for name in lights)
        assert alike(usual, dim) > 0.95 > alike(usual, other)


def test_no_part_is_that_of_a_training_or_test_image(tmp_path: Path) -> None:
    there = render_category(tmp_path / "root", "gear", size=64, train=4, test_good=4, test_defective=7)
    place = render_photographs(tmp_path / "usual", "gear", size=64, count=4, defective=True)
    known = [pixels(path) for path in there.glob("t*/*/*.png")]
    assert len(known) == 15
    for name in names(place):
        assert max(alike(pixels(place / name), one) for one in known) < 0.95


# All or nothing


def failing_after(count: int) -> Callable[..., None]:
    save, calls = dataset.save, iter(range(count))

    def broken(*args: Any) -> None:
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")
        save(*args)

    return broken


def test_a_crash_leaves_nothing_and_the_next_try_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(folder, "save", failing_after(1))
        render_photographs(tmp_path / "dim", "cable", **TINY)
    assert os.listdir(tmp_path) == []
    (tmp_path / f"{UNFINISHED}dead").mkdir()
    render_photographs(tmp_path / "dim", "cable", **TINY)
    assert os.listdir(tmp_path) == ["dim"], "what a killed process left is swept"


def test_an_empty_folder_is_filled_through_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    render_photographs(tmp_path / "link", "cable", **TINY)
    assert (tmp_path / "link").is_symlink() and len(names(tmp_path / "empty")) == 2


@pytest.mark.parametrize("there", ["dim/mine.png", "dim/.hidden", "dim"])
def test_files_of_the_user_are_left_alone_and_nothing_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setattr(folder, "save", lambda *_: pytest.fail("rendered for nothing"))
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(b"photograph")
    with pytest.raises(InputError, match=r"dim is (not empty|a file); expected a folder that does not exist"):
        render_photographs(tmp_path / "dim", "cable", **TINY)
    assert names(tmp_path) == {there} and (tmp_path / there).read_bytes() == b"photograph"


def test_a_folder_that_is_filled_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(*args: Any) -> None:
        dataset.save(*args)
        (tmp_path / "dim").mkdir(exist_ok=True)
        (tmp_path / "dim" / "mine.png").touch()

    monkeypatch.setattr(folder, "save", overtaken)
    with pytest.raises(InputError, match="dim is not empty"):
        render_photographs(tmp_path / "dim", "cable", **TINY)
    assert names(tmp_path) == {"dim/mine.png"}


@pytest.mark.parametrize("place", ["root/dim", "root/cable/train/dim"])
def test_rendered_categories_stay_alone_in_their_root(tmp_path: Path, place: str) -> None:
    small = {"size": 32, "train": 1, "test_good": 0, "test_defective": 0}
    render_category(tmp_path / "root", "cable", **small)
    with pytest.raises(InputError, match="lies among the demo's rendered categories; expected a folder elsewhere"):
        render_photographs(tmp_path / place, "cable", **TINY)
    render_category(tmp_path / "root", "gear", **small)


@pytest.mark.parametrize("wrong", [{"size": 31}, {"count": 0}, {"count": 1.5}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=f"^{name} is {value}; expected"):
        render_photographs(tmp_path / "dim", "cable", **{**TINY, **wrong})
    assert os.listdir(tmp_path) == []


def test_unknown_category_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'cabel'.*cable, gear, weave"):
        render_photographs(tmp_path / "dim", "cabel")


# The command


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_the_command_renders_what_it_is_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "dim"
    done = invoke(place, "--category=cable", "--light=dim", "--count=2", "--seed=4", "--size=40", "--defective")
    assert done.exit_code == 0, done.output
    # No progress bar: this is no terminal.
    assert done.output == f"{place}: synthetic photographs, 2 of good and 2 of defective parts (cable), light: dim\n"
    expected = render_photographs(tmp_path / "same", "cable", count=2, seed=4, size=40, light=DIM, defective=True)
    assert names(place) == names(expected)
    assert all((place / name).read_bytes() == (expected / name).read_bytes() for name in names(place))


def test_the_command_renders_only_good_parts_under_the_usual_light_unless_asked(tmp_path: Path) -> None:
    done = invoke(tmp_path / "usual", "--category=gear", "--count=1", "--size=32")
    assert done.output.endswith("synthetic photographs, 1 of good parts (gear), light: usual\n")
    np.testing.assert_array_equal(
        pixels(tmp_path / "usual/good/000.png"),
        pixels(render_photographs(tmp_path / "b", "gear", **TINY) / "good/000.png"),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--category=cable", "--light=dimm"], ["'--light'", "'dimm' is not one of 'usual', 'dim'"]),
        (["--category=cabel"], ["'--category'", "'cabel' is not one of 'cable', 'gear', 'weave'"]),
        ([], ["Missing option '--category'", "cable", "gear", "weave"]),
        (["--category=cable", "--count=0"], ["'--count'", "x>=1"]),
    ],
)
def test_wrong_options_are_named_with_what_is_expected(tmp_path: Path, arguments: list[str], said: list[str]) -> None:
    failed = invoke(tmp_path / "dim", *arguments)
    assert failed.exit_code == 2 and os.listdir(tmp_path) == []
    assert all(words in failed.output for words in said), failed.output


def test_a_folder_that_is_not_empty_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "mine.png").touch()
    failed = invoke(tmp_path, "--category=cable")
    assert failed.exit_code == 1
    assert failed.output == (
        f"Error: {tmp_path.resolve()} is not empty; expected a folder that does not exist, or is empty.\n"
    )


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "save", failing_after(0))
    failed = invoke(tmp_path / "dim", "--category=cable", "--size=32")
    assert failed.exit_code == 1
    assert failed.output.startswith(f"Error: {tmp_path / 'dim'}: No space left on device; expected")


@pytest.mark.sessions
def test_the_module_is_a_command() -> None:
    command = [sys.executable, "-m", "discrepancy.demo", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("Usage: python -m discrepancy.demo [OPTIONS] FOLDER")
    for words in ("synthetic", "[cable|gear|weave]", "[usual|dim]", "--defective"):
        assert words in shown
