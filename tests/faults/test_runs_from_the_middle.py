"""A run that starts in the middle works from what is on disk, with the parameters it was made with, or is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from discrepancy.datasets.origin import Traced
from discrepancy.errors import InputError
from tests.conftest import WITHOUT_REPORT
from tests.faults.conftest import prepare, start

SCORE = {"from_nodes": ["scoring.dfc.score_test"]}
REPORT = {"tags": ["reporting"]}
STARTS = [SCORE, REPORT, {"node_namespaces": ["scoring"]}, {"node_names": ["reporting.dfc.tabulate"]}]
MAPS = "data/07_model_output/folder/disc/dfc/maps.npy"


def report(project, name, version):
    return project / "data/08_reporting/folder/disc/dfc" / name / version / name


def copied_later(project, name, version, later="2030-01-01T00.00.00.000Z", **ancestors):
    """The version of a dataset as another run would have left it: of other ancestors, and with a later name."""
    old = report(project, name, version).parent
    new = shutil.copytree(old, old.with_name(later))
    origin = json.loads((new / "origin.json").read_text())
    origin["identity"] = later
    origin["ancestors"] |= ancestors
    (new / "origin.json").write_text(json.dumps(origin))


def stale(catalog, names):
    return {name for name in names if isinstance(dataset := catalog.get(name), Traced) and dataset.stale}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_size": 128}, r"image_size=\[96, 96\], this run has \[128, 128\]"),
        ({"seed": 7}, "seed=0, this run has 7"),
        ({"ingestion": {"validation_minimum": 3}}, "ingestion.validation_minimum=10, this run has 3"),
        ({"dfc": {"epochs": 9}}, r"dfc.epochs=1, this run has 9.*--from-nodes=training.dfc.extract_features"),
        ({"dfc": {"smoothing": 2.0}}, "dfc.smoothing=0.0, this run has 2.0"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
@pytest.mark.parametrize("options", STARTS, ids=str)
def test_other_parameters_than_those_on_disk_are_refused(once, part, changes, told, options):
    with pytest.raises(InputError, match=f"on disk: made with {told}"):
        prepare(once[0], part, options=options, **changes)


@pytest.mark.parametrize("options", STARTS, ids=str)
def test_the_same_parameters_are_accepted(once, part, options):
    prepare(once[0], part, options=options, scoring={"batch_size": 3}, dfc={"checkpoint_every": 7})  # how it is done


@pytest.mark.parametrize(
    ("name", "usual", "value"),
    [("false_positive_rate", 0.01, 0.5), ("rule", "gumbel", "quantile"), ("segmentation", "images", "pixels")],
)
def test_another_target_rate_or_rule_is_refused_only_after_the_thresholds(once, part, name, usual, value):
    other = {"scoring": {name: value}}
    with pytest.raises(InputError, match=rf"scoring.{name}={usual}, this run has {value}.*scoring.dfc.set_thresholds"):
        prepare(once[0], part, options=SCORE, **other)
    prepare(once[0], part, options={"node_namespaces": ["scoring"]}, **other)


def test_another_data_root_is_refused(once, part, tmp_path):
    with pytest.raises(InputError, match=r"on disk: made with data_root=.*, this run has .*other"):
        prepare(once[0], tmp_path / "other", options=SCORE)


def test_the_evaluation_alone_works_from_the_maps_on_disk(once, part):
    prepare(once[0], part, options={"from_nodes": ["scoring.dfc.evaluate"]})


def test_what_is_not_there_is_refused(once, part):
    with pytest.raises(InputError, match="samples is not on disk: start at the beginning"):
        prepare(once[0], part, options=SCORE, data_folder="nothing_there")


def test_versions_that_belong_together_are_chosen(finished, part):
    project, version = finished
    for name in ("card.json", "scores.csv", "metrics.json"):
        copied_later(project, name, version, **{"dfc.trained": "another"})
    catalog = prepare(project, part, options=REPORT)
    for name in ("dfc.card", "dfc.scores", "dfc.metrics"):
        assert catalog.get(name).resolve_load_version() == version, name


def test_results_of_two_runs_are_not_mixed(finished, part):
    project, version = finished
    copied_later(project, "card.json", version, **{"dfc.trained": "another"})
    shutil.rmtree(report(project, "card.json", version).parent)
    with pytest.raises(InputError, match=r"dfc.card on disk: made with another dfc.trained .*score_held_out"):
        prepare(project, part, options=REPORT)


def test_a_changed_sample_table_is_refused(finished, part):
    path = finished[0] / "data/02_intermediate/folder/disc/samples.csv"
    path.write_text(path.read_text().replace("validation", "train"))
    with pytest.raises(InputError, match="samples on disk: what it was made from is not known, or it was changed"):
        prepare(finished[0], part, options=SCORE)


def test_maps_of_another_program_are_refused(finished, part):
    np.save(finished[0] / MAPS, np.load(finished[0] / MAPS) * 2)
    with pytest.raises(InputError, match=r"dfc.maps on disk: what it was made from is not known, or it was changed"):
        prepare(finished[0], part, options=REPORT)


def test_a_chosen_version_must_fit_the_rest(finished, part):
    project, version = finished
    copied_later(project, "card.json", version, "2001", **{"dfc.trained": "another"})
    with pytest.raises(InputError, match=r"dfc.card on disk: made with another dfc.trained"):
        prepare(project, part, options=REPORT, versions={"dfc.card": "2001"})
    prepare(project, part, options=REPORT, versions={"dfc.card": version})


def test_a_version_of_what_the_run_makes_itself_is_refused(once, part):
    with pytest.raises(InputError, match=r"--load-versions: this run makes dfc.detector itself"):
        prepare(once[0], part, versions={"dfc.detector": once[1]})


def test_a_version_of_what_the_run_does_not_load_is_refused(once, part):
    told = r"--load-versions: this run loads no version of dfc.detector; expected one of dfc.card, dfc.history"
    with pytest.raises(InputError, match=told):
        prepare(once[0], part, options=REPORT, versions={"dfc.detector": once[1]})


def test_a_history_is_that_of_the_detector_s_own_training(finished, part):
    project, version = finished
    folder = project / "data/06_models/folder/disc/dfc/history.csv"
    later = shutil.copytree(folder / version, folder / "2030-01-01T00.00.00.000Z")  # of a training that was all
    origin = json.loads((later / "origin.json").read_text()) | {"identity": later.name}
    (later / "origin.json").write_text(json.dumps(origin))
    for options in (SCORE, REPORT):
        assert prepare(project, part, options=options).get("dfc.history").resolve_load_version() == version


def test_a_version_that_is_not_there_is_refused(once, part):
    with pytest.raises(InputError, match=r"--load-versions: dfc.detector has no version '2001'"):
        prepare(once[0], part, options=SCORE, versions={"dfc.detector": "2001"})


def test_a_changed_photograph_is_told_where_the_table_of_an_earlier_run_is_used(finished, part, tmp_path):
    project, _ = finished
    root = shutil.copytree(part, tmp_path / "photographs")
    start(project, root, "ingestion")
    Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save(root / "disc/test/good/000.png")
    with pytest.raises(InputError, match=r"1 photograph was changed.*disc/test/good/000.png"):
        start(project, root, options={"from_nodes": ["ingestion.decode_images"]})


def test_a_part_of_a_run_gives_the_same_result(finished, part):
    project, version = finished
    later = start(project, part, options={"namespaces": ["scoring", "reporting"]})
    for name in ("scores.csv", "table.csv", "card.json", "gallery.png"):
        assert report(project, name, later).read_bytes() == report(project, name, version).read_bytes(), name


def test_only_missing_outputs_with_nothing_missing(finished, part, capsys):
    project, version = finished
    start(project, part, options={"only_missing_outputs": True})
    said = capsys.readouterr().out
    assert "Nothing to do" in said and "image_auroc" not in said
    assert [path.name for path in (project / "data/08_reporting/folder/disc/dfc/metrics.json").iterdir()] == [version]


def test_only_missing_outputs_makes_what_is_missing_and_tells_of_nothing_else(finished, part, capsys):
    project, version = finished
    report(project, "roc.png", version).unlink()
    later = start(project, part, options={"only_missing_outputs": True})
    assert report(project, "roc.png", later).is_file() and not report(project, "metrics.json", later).exists()
    assert "image_auroc" not in capsys.readouterr().out


ALL = {"samples", "images", "masks", "dfc.features", "dfc.trained", "dfc.validation_maps", "dfc.card", "dfc.maps"}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, ALL),
        ({"dfc": {"epochs": 3}}, {"samples", "images", "masks"}),
        ({"scoring": {"false_positive_rate": 0.5}}, ALL - {"dfc.card", "dfc.maps"}),
        ({"seed": 5}, set()),
    ],
    ids=["nothing", "epochs", "target rate", "seed"],
)
def test_with_only_missing_outputs_what_other_parameters_change_counts_as_missing(once, part, changes, kept):
    assert ALL - stale(prepare(once[0], part, only_missing=True, **changes), ALL) == kept


def test_with_only_missing_outputs_what_changed_photographs_change_counts_as_missing(finished, part, tmp_path):
    project, _ = finished
    root = shutil.copytree(part, tmp_path / "photographs")
    start(project, root, "ingestion")
    assert not stale(prepare(project, root, only_missing=True), {"samples", "images", "masks"})
    Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save(root / "disc/test/good/000.png")
    assert stale(prepare(project, root, only_missing=True), ALL) == ALL


def test_with_only_missing_outputs_changed_masks_count_as_missing(finished, part, tmp_path):
    project, _ = finished
    root = shutil.copytree(part, tmp_path / "photographs")
    start(project, root, "ingestion")
    mask = root / "disc/ground_truth/scratch/000_mask.png"
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    assert stale(prepare(project, root, only_missing=True), {"samples", "images", "masks"}) == {"masks"}


def test_with_only_missing_outputs_one_missing_output_of_a_step_means_all(finished, part):
    project, version = finished
    shutil.rmtree(project / f"data/06_models/folder/disc/dfc/history.csv/{version}")
    catalog = prepare(project, part, only_missing=True)
    assert stale(catalog, {*ALL, "dfc.history"}) == {"dfc.history", *ALL} - {
        "samples",
        "images",
        "masks",
        "dfc.features",
    }


def test_a_look_at_photographs_is_never_taken_from_an_earlier_one(finished, part):
    names = {"inspect.page", "inspect.counts_table"}
    assert stale(prepare(finished[0], part, "inspect", only_missing=True), names) == names


def test_a_checkpoint_is_dropped_only_by_the_run_that_finished_it(finished, part, monkeypatch):
    project, _ = finished
    checkpoint = project / "data/06_models/folder/disc/dfc/checkpoint.pt"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("discrepancy.methods.dfc.model.DFC.fit_residual_scaler", killed)
        start(project, part, dfc={"epochs": 3})
    start(project, part, options={"namespaces": ["scoring"]})  # of the finished run
    assert checkpoint.is_file()
    start(project, part, options={"only_missing_outputs": True, "namespaces": WITHOUT_REPORT}, dfc={"epochs": 3})
    assert not checkpoint.exists()


@pytest.mark.parametrize("runner", ["ThreadRunner", "asynchronous"])
def test_threads_give_the_same_result(finished, part, runner):
    from kedro.runner import SequentialRunner, ThreadRunner

    project, version = finished
    chosen = ThreadRunner(max_workers=4) if runner == "ThreadRunner" else SequentialRunner(is_async=True)
    later = start(project, part, options={"runner": chosen})
    for name in ("scores.csv", "table.csv"):
        assert report(project, name, later).read_text() == report(project, name, version).read_text()
