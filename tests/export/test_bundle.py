"""A bundle at work: in a process without the package, on photographs, and beside a camera."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from discrepancy.errors import InputError
from discrepancy.export import detect
from discrepancy.export.bundle import requirements
from discrepancy.export.comparison import Exactness, check, compare
from discrepancy.prediction import Detector

ALLOWED = ["numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"]
ALONE = f"""
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {ALLOWED} and not top.startswith("_"):
            raise ModuleNotFoundError(f"{{name}} is not in the requirements", name=name)
sys.meta_path.insert(0, Refusing())
sys.path = [path for path in sys.path if not path.rstrip("/").endswith("src")]
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def alone(*arguments):
    """`python ...` as on a computer that has the packages of requirements.txt only."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ALONE, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_its_table_is_that_of_the_detector(detector, bundle_folder, photos, tmp_path):
    process = alone(bundle_folder / "detect.py", photos, "--out", tmp_path / "out/p.csv", "--overlays", tmp_path / "o")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found = pd.read_csv(tmp_path / "out/p.csv", keep_default_na=False, dtype={"file": str})
    expected = detector.predict(photos).to_pandas()
    expected["file"] = [name.removeprefix(f"{photos.as_posix()}/") for name in expected["file"]]
    assert found["file"].tolist() == expected["file"].tolist() and len(found) == 16
    assert found["decision"].tolist() == expected["decision"].tolist()
    assert set(found["decision"]) == {"good", "anomalous"}
    for column in ("score", "threshold", "relative_score"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-3)
    np.testing.assert_allclose(found["false_alarm_probability"], expected["false_alarm_probability"], rtol=1e-2)
    assert found["regions"].tolist() == expected["regions"].tolist()
    assert found["largest_region"].tolist() == pytest.approx(expected["largest_region"].tolist(), abs=3)
    assert "8 of 16 photographs are anomalous" in out
    overlay = np.asarray(Image.open(tmp_path / "o/bad/scratched/08.png.jpg")).astype(int)
    photograph = np.asarray(Image.open(photos / "bad/scratched/08.png"))
    red = (overlay - photograph)[..., 0] - (overlay - photograph)[..., 2] > 60
    assert 20 < red.sum() < 2000
    passed = np.asarray(Image.open(tmp_path / "o/good/00.png.jpg")).astype(int)
    assert np.abs(passed - np.asarray(Image.open(photos / "good/00.png"))).max() < 40


def test_the_archive_holds_the_same_files(bundle_folder):
    with zipfile.ZipFile(bundle_folder.with_name("bundle.zip")) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == {f"bundle/{path.name}": path.read_bytes() for path in bundle_folder.iterdir()}
    names = ("model.onnx", "card.json", "detect.py", "requirements.txt", "README.md")
    assert set(packed) == {f"bundle/{name}" for name in names}
    named = [line.partition(">=")[0] for line in requirements().splitlines()]
    assert named == ["onnxruntime", "numpy", "pillow"]


def test_unreadable_files_have_a_reason_and_stop_nothing(bundle_folder, photos, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_text("hello")
    (tmp_path / "in/b.png").write_bytes((photos / "good/00.png").read_bytes())
    arguments = ["--bundle", str(bundle_folder), "--out", str(tmp_path / "p.csv")]
    assert detect.main([str(tmp_path / "in"), *arguments]) == 0
    lines = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [line["decision"] for line in lines] == ["unreadable", "good"]
    assert "a.png cannot be decoded" in lines[0]["reason"]
    assert detect.main([str(tmp_path / "in/a.png"), *arguments]) == 2
    assert detect.main([str(tmp_path / "none"), *arguments]) == 2
    assert "none: no photograph is there" in capsys.readouterr().err


def test_damaged_bundles_are_refused(bundle_folder, tmp_path):
    with pytest.raises(detect.InputError, match="nowhere"):
        detect.Bundle(tmp_path / "nowhere")
    graph = bundle_folder / "model.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(detect.InputError, match="expected the files of one bundle"):
        detect.Bundle(bundle_folder)
    graph.write_bytes(content)
    card = json.loads((bundle_folder / "card.json").read_text())
    card["bundle"]["format"] = 9
    (bundle_folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(detect.InputError, match="version 9"):
        detect.Bundle(bundle_folder)
    (bundle_folder / "card.json").write_text("[]")
    with pytest.raises(detect.InputError, match="not the card of a bundle"):
        detect.Bundle(bundle_folder)


def lines_of(path, count, process, seconds=30):
    """The lines of a table once there are so many."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lines = list(csv.DictReader(path.open())) if path.exists() else []
        if len(lines) >= count:
            return lines
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError(f"{len(lines)} lines after {seconds} s")


def test_a_camera_may_write_slowly_and_the_table_grows(bundle_folder, photos, tmp_path):
    incoming, table = tmp_path / "incoming", tmp_path / "p.csv"
    incoming.mkdir()
    start = [bundle_folder / "detect.py", "--watch", incoming, "--out", table]
    content = (photos / "bad/scratched/08.png").read_bytes()
    process = alone(*start)
    try:
        with (incoming / "slow.png").open("wb") as file:  # a camera pauses while it writes
            file.write(content[:2000])
            file.flush()
            (incoming / "whole.png").write_bytes((photos / "good/00.png").read_bytes())
            assert [line["file"] for line in lines_of(table, 1, process)] == ["whole.png"]
            file.write(content[2000:])
        lines = lines_of(table, 2, process)
        assert [line["file"] for line in lines] == ["whole.png", "slow.png"]
        assert [line["decision"] for line in lines] == ["good", "anomalous"]
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    again = alone(*start)
    try:
        (incoming / "later.png").write_bytes(content)
        assert [line["file"] for line in lines_of(table, 3, again)] == ["whole.png", "slow.png", "later.png"]
    finally:
        again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0


def test_an_export_that_differs_is_refused(detector, bundle_folder, photos):
    paths = sorted(photos.rglob("[01]*.png"))
    table = compare(detector, detect.Bundle(bundle_folder), paths, photos)
    assert len(table) == 16 and table["file"].iloc[-1] == "good/07.png"
    measured = check(table, detector.threshold, Exactness())
    assert measured["photographs"] == 16 and 0 <= measured["score_difference"] < 1e-5
    with pytest.raises(InputError, match=r"scratched/.*map difference of the export"):
        check(table.assign(map_difference=[1e-3, *[0] * 15]), detector.threshold, Exactness())
    with pytest.raises(InputError, match="score difference"):
        check(table.assign(score_difference=np.nan), detector.threshold, Exactness())
    near = float(table["pytorch_score"].iloc[0])
    flipped = table.assign(onnx_score=[near * (1 + 1e-6), *table["onnx_score"][1:]])
    with pytest.raises(InputError, match="decides otherwise"):
        check(flipped, near, Exactness())


def test_differences_are_of_the_scores(detector, bundle_folder, photos):
    class Off(detect.Bundle):
        def score(self, images):
            maps, scores = super().score(images)
            return maps * 1.5, scores * 1.01

    paths = sorted((photos / "good").iterdir())[:3]
    table = compare(detector, Off(bundle_folder), paths, photos)
    np.testing.assert_allclose(table["score_difference"], 0.01, rtol=1e-3)
    np.testing.assert_allclose(table["file_score_difference"], 0.01, rtol=1e-3)
    np.testing.assert_allclose(table["map_difference"], 0.5, rtol=1e-3)


def test_a_detector_loaded_from_disk_gives_the_same_bundle_card(detector, graph, tmp_path):
    from discrepancy import load_detector
    from discrepancy.export.bundle import bundle_card

    detector.save(tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector", device="cpu")
    assert isinstance(loaded, Detector)
    assert bundle_card(loaded, graph)["bundle"] == bundle_card(detector, graph)["bundle"]
