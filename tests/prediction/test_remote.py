"""Photographs examined by the workers of a real scheduler, one of them killed in the middle."""

import json
import shutil
import threading
import time

import pytest

from discrepancy.errors import InputError
from discrepancy.pipelines.predict.nodes import examine, find_photographs
from discrepancy.pipelines.predict.parameters import PredictParameters
from discrepancy.prediction import Detector, remote
from discrepancy.prediction.job import NamedFile
from discrepancy.prediction.output import PictureWriter
from discrepancy.prediction.store import PredictionStore, stamp_of
from tests.benchmark.test_dask import cluster, end  # noqa: F401
from tests.prediction.conftest import with_thresholds

pytestmark = pytest.mark.sessions
COPIES = 4


@pytest.fixture
def many(photos, tmp_path):
    for number in range(COPIES):
        shutil.copytree(photos, tmp_path / f"photos/{number}")
    (tmp_path / "photos/0/good/bad.png").write_text("hello")
    return tmp_path / "photos"


def run(detector, photos, folder, **changes):
    store = PredictionStore(folder)
    parameters = PredictParameters(input=str(photos), device="cpu", **changes)
    return examine(detector, find_photographs(store, parameters), store, parameters)


def test_a_worker_is_killed_in_the_middle(detector, many, tmp_path, cluster, monkeypatch):  # noqa: F811
    address, workers = cluster
    monkeypatch.setattr(remote, "PIECE", 2)

    def kill_one():
        journal = tmp_path / "spread/journal.jsonl"
        while not journal.exists() or len(journal.read_text().splitlines()) < 6:
            time.sleep(0.02)
        end(workers[0])

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    spread = run(detector, many, tmp_path / "spread", scheduler=address, masks=True)
    killer.join(timeout=60)
    assert workers[0].poll() is not None
    alone = run(detector, many, tmp_path / "alone", masks=True)
    assert [entry.line["file"] for entry in spread] == [entry.line["file"] for entry in alone]
    for one, other in zip(spread, alone, strict=True):
        varying = {"seconds": 0, "score": 0}
        assert dict(one.line) | varying == dict(other.line) | varying
        assert one.line.get("score", 0) == pytest.approx(other.line.get("score", 0), rel=1e-5)
    assert [entry.outline for entry in spread] == [entry.outline for entry in alone]
    lines = (tmp_path / "spread/journal.jsonl").read_text().splitlines()[1:]
    files = [json.loads(line)["file"] for line in lines]
    assert len(files) == len(set(files)) == 16 * COPIES + 1
    for kind in ("overlays", "masks", "thumbnails"):
        assert len(list((tmp_path / "spread" / kind).rglob("*.*g"))) == 16 * COPIES


def test_a_worker_that_lives_on_takes_the_detector_of_today(method, photos, tmp_path):
    """Calibrated or trained anew, a detector is saved in the place of the one before."""
    files = [NamedFile("a.png", path := min(photos.rglob("good/*.png")), stamp_of(path))]
    writer = PictureWriter(tmp_path / "out", overlays=False, maps=False, masks=False)
    for value in (1e-3, 1e3, 1e-3):
        detector = Detector(with_thresholds(method, value, value / 8), device="cpu")
        detector.save(tmp_path / "detector")
        place = str(tmp_path / "detector")
        (entry,) = remote._examine_piece(place, detector.digest, None, "cpu", files, writer, 1)
        assert entry.line["decision"] == ("good" if value > 1 else "anomalous")


def test_no_scheduler_is_said(detector, many, tmp_path, monkeypatch):
    monkeypatch.setattr("discrepancy.dask_workers.TIMEOUT", 1.0)
    with pytest.raises(InputError, match=r"scheduler: nonsense does not answer"):
        run(detector, many, tmp_path / "out", scheduler="nonsense")
