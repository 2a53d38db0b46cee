"""What is planned: which cells there are, which are done, and how long the rest will take."""

import json
import os
from pathlib import Path

import pytest

from discrepancy.benchmark.plan import Cell, Plan, Settings, duration, make_cells
from discrepancy.benchmark.store import CellStore
from discrepancy.errors import InputError

SETTINGS = Settings({"dfr": {"epochs": 2}}, 1)


def done(cell, settings=SETTINGS, *, seconds=10.0, state="done", **metrics):
    index = {"dataset": cell.dataset, "category": cell.category, "method": cell.method, "seed": cell.seed}
    result = {**index, "state": state, "reason": "" if state == "done" else "out of paint", "seconds": seconds}
    return {**result, "fingerprint": settings.fingerprint(cell), "metrics": metrics, "version": "v", "run_id": None}


@pytest.fixture
def store(tmp_path):
    return CellStore(tmp_path / "benchmark")


def cells():
    return make_cells(["dfr", "dfc"], "demo", ["cable", "gear"], [0, 1], Path("nowhere"))


def test_cells_are_all_combinations_each_once():
    found = cells()
    assert len(found) == len(set(found)) == 8
    assert {(cell.category, cell.method, cell.seed) for cell in found} == {
        (category, method, seed) for category in ("cable", "gear") for method in ("dfr", "dfc") for seed in (0, 1)
    }
    assert make_cells(["dfr", "dfr"], "demo", ["gear", "gear"], [1, 1], Path()) == [Cell("demo", "gear", "dfr", 1)]
    assert len(make_cells(["dfr"], "demo", ["all"], [0], Path())) == 3


def test_all_categories_are_those_that_lie_there(tmp_path):
    for name in ("nut", "bolt"):
        (tmp_path / name / "train/good").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    found = make_cells(["dfr"], "mvtec_ad", ["all"], [0], tmp_path)
    assert [cell.category for cell in found] == ["bolt", "nut"]
    with pytest.raises(InputError, match=r"unknown 'screw'; expected some of bolt, nut"):
        make_cells(["dfr"], "mvtec_ad", ["screw"], [0], tmp_path)
    with pytest.raises(InputError, match=r"holds no category of mvtec_ad"):
        make_cells(["dfr"], "mvtec_ad", ["all"], [0], tmp_path / "other")


def test_what_is_done_is_not_planned_again(store):
    first, second, third = cells()[:3]
    store.write(first.folder, done(first))
    store.write(second.folder, done(second, state="failed"))
    store.write(third.folder, done(third, Settings({"dfr": {"epochs": 3}}, 1)))  # of other parameters
    plan = Plan.of(cells(), SETTINGS, store)
    assert plan.done == [first] and plan.waiting == cells()[1:]


@pytest.mark.parametrize(
    "other",
    [Settings({"dfr": {"epochs": 3}}, 1), Settings({}, 1), Settings({"dfr": {"epochs": 2}}, 2)],
)
def test_whatever_decides_the_numbers_is_in_the_fingerprint(other):
    cell = cells()[0]
    assert other.fingerprint(cell) != SETTINGS.fingerprint(cell)
    assert Settings({"dfr": {"epochs": 2}}, 1).fingerprint(cell) == SETTINGS.fingerprint(cell)
    assert len({SETTINGS.fingerprint(cell) for cell in cells()}) == 8


def test_the_time_is_that_of_earlier_cells(store):
    assert Plan.of(cells(), SETTINGS, store).seconds is None
    for cell, seconds in zip([cell for cell in cells() if cell.method == "dfr"], (10, 20, 40), strict=False):
        store.write(cell.folder, done(cell, seconds=seconds))
    plan = Plan.of([cell for cell in cells() if cell.method == "dfr"], SETTINGS, store)
    assert plan.seconds == 40  # gear, seed 1: as gear, seed 0, took
    assert Plan.of(cells(), SETTINGS, store).seconds is None  # of dfc nothing is known
    more = make_cells(["dfr"], "demo", ["weave"], [0], Path())
    assert Plan.of(more, SETTINGS, store).seconds == 20  # a part without cells: the usual one of the method
    lines = plan.lines(workers=2)
    assert lines == ["dfr         3 done     1 to run", "time    20 s, with 2 at a time"]
    assert plan.lines(workers=None)[-1] == "time    40 s, one after the other"


def test_durations():
    assert [duration(seconds) for seconds in (45, 720, 12600)] == ["45 s", "12 min", "3.5 h"]


def test_a_result_is_written_whole_or_not_at_all(store, monkeypatch):
    cell = cells()[0]
    store.write(cell.folder, done(cell, image_auroc=0.9))

    def torn(*_):
        raise OSError("torn")

    monkeypatch.setattr(os, "replace", torn)
    with pytest.raises(OSError, match="torn"):
        store.write(cell.folder, done(cell, image_auroc=0.1))
    assert store.read(cell.folder)["metrics"] == {"image_auroc": 0.9}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"done"'])
def test_a_damaged_result_counts_as_none(store, text):
    cell = cells()[0]
    (store.root / cell.folder).mkdir(parents=True)
    (store.root / cell.folder / "result.json").write_text(text)
    assert store.read(cell.folder) is None and store.table().empty
    assert Plan.of([cell], SETTINGS, store).waiting == [cell]


def test_the_table_has_a_row_per_cell_failed_ones_too(store):
    good, bad = cells()[:2]
    store.write(good.folder, done(good, image_auroc=0.9, pixel_auroc=None))
    store.write(bad.folder, done(bad, state="failed"))
    table = store.table().set_index(["category", "method", "seed"])
    assert table.loc[("cable", good.method, good.seed), "image_auroc"] == 0.9
    assert table["pixel_auroc"].isna().all()
    assert table.loc[("cable", bad.method, bad.seed), ["state", "reason"]].tolist() == ["failed", "out of paint"]


def test_a_table_of_missing_cells_alone_has_all_its_columns(store):
    store.note(cells=[{"dataset": "demo", "category": "cable", "method": "dfr", "seed": 0}])
    (row,) = store.table().to_dict("records")
    assert row["state"] == "missing" and row["reason"] == "" and row["seconds"] is None


def test_galleries_are_those_of_the_lowest_finished_seed(store):
    zero, ten, two = (Cell("demo", "cable", "dfr", seed) for seed in (0, 10, 2))
    store.write(zero.folder, done(zero, state="failed"))
    for cell in (zero, ten, two):
        if cell != zero:
            store.write(cell.folder, done(cell))
        path = store.report(cell.folder, done(cell), "gallery.png")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    (found,) = store.galleries().values()
    assert "seed_2/" in found.as_posix() and json.dumps(list(store.galleries())) == '[["dfr", "demo", "cable"]]'
