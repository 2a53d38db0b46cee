"""What is planned: which trials there are, which are done, and how long the rest will take."""

import json
import os
from pathlib import Path

import pytest

from discrepancy.benchmark.plan import Plan, SharedSettings, Trial, duration, make_trials
from discrepancy.benchmark.store import TrialStore
from discrepancy.errors import InputError

SETTINGS = SharedSettings({"dfr": {"epochs": 2}}, 1)


def done(trial, settings=SETTINGS, *, seconds=10.0, state="done", **metrics):
    index = {"dataset": trial.dataset, "category": trial.category, "method": trial.method, "seed": trial.seed}
    result = {**index, "state": state, "reason": "" if state == "done" else "out of paint", "seconds": seconds}
    return {**result, "fingerprint": settings.fingerprint(trial), "metrics": metrics, "version": "v", "run_id": None}


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "benchmark")


def trials():
    return make_trials({"dfr": [0, 1], "dfc": [0, 1]}, "demo", ["cable", "gear"], Path("nowhere"))


def test_trials_are_all_combinations_each_once():
    found = trials()
    assert len(found) == len(set(found)) == 8
    assert {(trial.category, trial.method, trial.seed) for trial in found} == {
        (category, method, seed) for category in ("cable", "gear") for method in ("dfr", "dfc") for seed in (0, 1)
    }
    assert make_trials({"dfr": [1, 1]}, "demo", ["gear", "gear"], Path()) == [Trial("demo", "gear", "dfr", 1)]
    assert len(make_trials({"dfr": [0]}, "demo", ["all"], Path())) == 3


def test_each_method_may_have_its_own_seed():
    found = make_trials({"dfr": [0], "fod": [3407]}, "demo", ["cable", "gear"], Path())
    assert found == [
        Trial("demo", category, method, seed)
        for category in ("cable", "gear")
        for method, seed in (("dfr", 0), ("fod", 3407))
    ]


def test_all_categories_are_those_that_lie_there(tmp_path):
    for name in ("nut", "bolt"):
        (tmp_path / name / "train/good").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    found = make_trials({"dfr": [0]}, "mvtec_ad", ["all"], tmp_path)
    assert [trial.category for trial in found] == ["bolt", "nut"]
    with pytest.raises(InputError, match=r"unknown 'screw'; expected some of bolt, nut"):
        make_trials({"dfr": [0]}, "mvtec_ad", ["screw"], tmp_path)
    with pytest.raises(InputError, match=r"holds no category of mvtec_ad"):
        make_trials({"dfr": [0]}, "mvtec_ad", ["all"], tmp_path / "other")


def test_what_is_done_is_not_planned_again(store):
    first, second, third = trials()[:3]
    store.write(first.folder, done(first))
    store.write(second.folder, done(second, state="failed"))
    store.write(third.folder, done(third, SharedSettings({"dfr": {"epochs": 3}}, 1)))  # of other parameters
    plan = Plan.of(trials(), SETTINGS, store)
    assert plan.done == [first] and plan.waiting == trials()[1:]


@pytest.mark.parametrize(
    "other",
    [SharedSettings({"dfr": {"epochs": 3}}, 1), SharedSettings({}, 1), SharedSettings({"dfr": {"epochs": 2}}, 2)],
)
def test_whatever_decides_the_numbers_is_in_the_fingerprint(other):
    trial = trials()[0]
    assert other.fingerprint(trial) != SETTINGS.fingerprint(trial)
    assert SharedSettings({"dfr": {"epochs": 2}}, 1).fingerprint(trial) == SETTINGS.fingerprint(trial)
    assert len({SETTINGS.fingerprint(trial) for trial in trials()}) == 8


def test_the_time_is_that_of_earlier_cells(store):
    assert Plan.of(trials(), SETTINGS, store).seconds is None
    for trial, seconds in zip([trial for trial in trials() if trial.method == "dfr"], (10, 20, 40), strict=False):
        store.write(trial.folder, done(trial, seconds=seconds))
    plan = Plan.of([trial for trial in trials() if trial.method == "dfr"], SETTINGS, store)
    assert plan.seconds == 40  # gear, seed 1: as gear, seed 0, took
    assert Plan.of(trials(), SETTINGS, store).seconds is None  # of dfc nothing is known
    more = make_trials({"dfr": [0]}, "demo", ["weave"], Path())
    assert Plan.of(more, SETTINGS, store).seconds == 20  # a part without trials: the usual one of the method
    lines = plan.lines(workers=2)
    assert lines == ["dfr         3 done     1 to run, seeds 0, 1", "time    20 s, with 2 at a time"]
    assert plan.lines(workers=None)[-1] == "time    40 s, one after the other"


def test_durations():
    assert [duration(seconds) for seconds in (45, 720, 12600)] == ["45 s", "12 min", "3.5 h"]


def test_a_result_is_written_whole_or_not_at_all(store, monkeypatch):
    trial = trials()[0]
    store.write(trial.folder, done(trial, image_auroc=0.9))

    def torn(*_):
        raise OSError("torn")

    monkeypatch.setattr(os, "replace", torn)
    with pytest.raises(OSError, match="torn"):
        store.write(trial.folder, done(trial, image_auroc=0.1))
    assert store.read(trial.folder)["metrics"] == {"image_auroc": 0.9}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"done"'])
def test_a_damaged_result_counts_as_none(store, text):
    trial = trials()[0]
    (store.root / trial.folder).mkdir(parents=True)
    (store.root / trial.folder / "result.json").write_text(text)
    assert store.read(trial.folder) is None and store.table().empty
    assert Plan.of([trial], SETTINGS, store).waiting == [trial]


def test_the_table_has_a_row_per_trial_failed_ones_too(store):
    good, bad = trials()[:2]
    store.write(good.folder, done(good, image_auroc=0.9, pixel_auroc=None))
    store.write(bad.folder, done(bad, state="failed"))
    table = store.table().set_index(["category", "method", "seed"])
    assert table.loc[("cable", good.method, good.seed), "image_auroc"] == 0.9
    assert table["pixel_auroc"].isna().all()
    assert table.loc[("cable", bad.method, bad.seed), ["state", "reason"]].tolist() == ["failed", "out of paint"]


def test_a_table_of_missing_trials_alone_has_all_its_columns(store):
    store.note(cells=[{"dataset": "demo", "category": "cable", "method": "dfr", "seed": 0}])
    (row,) = store.table().to_dict("records")
    assert row["state"] == "missing" and row["reason"] == "" and row["seconds"] is None


def test_galleries_are_those_of_the_lowest_finished_seed(store):
    zero, ten, two = (Trial("demo", "cable", "dfr", seed) for seed in (0, 10, 2))
    store.write(zero.folder, done(zero, state="failed"))
    for trial in (zero, ten, two):
        if trial != zero:
            store.write(trial.folder, done(trial) | {"gallery": f"{trial.folder}/work/gallery.png"})
        path = store.work(trial.folder) / "gallery.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    (found,) = store.galleries().values()
    assert "seed_2/" in found.as_posix() and json.dumps(list(store.galleries())) == '[["dfr", "demo", "cable"]]'


@pytest.mark.parametrize("path", ["../../secret.png", "/etc/secret.png", "dfr/../../secret.png"])
def test_a_gallery_that_leads_elsewhere_is_damage(store, path, caplog):
    trial = trials()[0]
    store.write(trial.folder, done(trial) | {"gallery": path})
    assert store.read(trial.folder) is None and "leads out of the benchmark's folder" in caplog.text
    assert store.galleries() == {}
