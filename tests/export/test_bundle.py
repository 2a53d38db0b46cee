"""A bundle at work: in a process without the package, on photographs, and beside a camera."""

import csv
import io
import json
import os
import signal
import struct
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
from discrepancy.export.bundle import bundle_files, requirements, write_bundle
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


def test_a_folder_with_anything_else_is_not_replaced(detector, graph, tmp_path):
    """`output=` may name the folder in which somebody keeps bundles, and all else."""
    content = bundle_files(detector, graph)
    (tmp_path / "mine/dfc").mkdir(parents=True)
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(InputError, match="mine: holds 'dfc', which a bundle in its place would delete"):
        write_bundle(content, tmp_path / "mine")
    with pytest.raises(InputError, match="mine: holds 'dfc', which a detector in its place would delete"):
        detector.save(tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years" and not (tmp_path / "mine.zip").exists()
    for _ in range(2):
        write_bundle(content, tmp_path / "bundle")
        detector.save(tmp_path / "detector")
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == sorted(content)


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
    whole = json.dumps(card | {"bundle": card["bundle"] | {"format": 1}})
    for entry in ('"sha256": ', '"low": ', '"image_size": ', '"thresholds": '):
        (bundle_folder / "card.json").write_text(whole.replace(entry, '"other": '))
        with pytest.raises(detect.InputError, match="not the card of a bundle"):
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


@pytest.fixture
def watched(bundle_folder, photos, tmp_path, monkeypatch):
    """Return a function that watches a folder of three photographs until the table has so many lines."""
    monkeypatch.setattr(detect, "POLL", 0.01)
    incoming, table = tmp_path / "in", tmp_path / "p.csv"
    incoming.mkdir()
    for name in ("00", "01", "02"):
        (incoming / f"{name}.png").write_bytes((photos / f"good/{name}.png").read_bytes())

    def watched(lines, overlays=None, seconds=10):
        end = time.monotonic() + seconds

        def stopped():
            return table.read_bytes().count(b"\n") > lines or time.monotonic() > end

        detect.watch(detect.Bundle(bundle_folder), incoming, table, detect.Overlays(overlays), stopped)
        return [line["file"] for line in csv.DictReader(table.open())]

    watched.incoming, watched.table = incoming, table
    return watched


def test_a_line_that_is_cut_off_is_written_anew(watched):
    assert watched(2) == ["00.png", "01.png"], "it stops at once, though a third one waits"
    content = watched.table.read_bytes()
    watched.table.write_bytes(content[:-20])
    assert watched(3) == ["00.png", "01.png", "02.png"]
    assert len(watched.table.read_text().splitlines()) == 4


def test_an_empty_table_gets_its_header_and_another_file_is_left_alone(watched):
    watched.table.touch()
    assert watched(1) == ["00.png"]
    watched.table.write_text("name,price\nscrew,1\n")
    with pytest.raises(detect.InputError, match="not a table of this program"):
        watched(1)
    assert watched.table.read_text() == "name,price\nscrew,1\n"


def test_overlays_beside_photographs_are_no_photographs(watched, bundle_folder):
    overlays = watched.incoming / "overlays"
    assert watched(4, overlays=overlays, seconds=1) == ["00.png", "01.png", "02.png"]
    assert len(list(overlays.iterdir())) == 3
    arguments = ["--bundle", str(bundle_folder), "--overlays", str(overlays), "--out", str(watched.table)]
    assert detect.main([str(watched.incoming), *arguments]) == 0
    assert len(list(csv.DictReader(watched.table.open()))) == 3


def test_a_photograph_that_is_taken_away_may_come_back(watched, monkeypatch):
    content = (watched.incoming / "01.png").read_bytes()
    complete = detect._complete

    def taken_away(path):
        if path.name == "01.png":
            path.unlink()
            return True
        return complete(path)

    monkeypatch.setattr(detect, "_complete", taken_away)
    assert watched(2) == ["00.png", "02.png"]
    monkeypatch.undo()
    (watched.incoming / "01.png").write_bytes(content)
    assert watched(3) == ["00.png", "02.png", "01.png"]


def test_photographs_of_several_folders_keep_their_names_apart(bundle_folder, photos, tmp_path):
    arguments = ["--bundle", str(bundle_folder), "--out", str(tmp_path / "p.csv"), "--overlays", str(tmp_path / "o")]
    assert detect.main([str(photos / "good"), str(photos / "bad"), *arguments]) == 0
    names = [line["file"] for line in csv.DictReader((tmp_path / "p.csv").open())]
    assert len(set(names)) == 16 and names[0] == (photos / "good/00.png").as_posix()
    assert len(list((tmp_path / "o").rglob("*.jpg"))) == 16


def test_an_overlay_that_cannot_be_written_stops_nothing(bundle_folder, photos, tmp_path, capsys):
    (tmp_path / "o").write_text("a file")
    arguments = ["--bundle", str(bundle_folder), "--out", str(tmp_path / "p.csv"), "--overlays", str(tmp_path / "o")]
    assert detect.main([str(photos / "bad"), *arguments]) == 0
    assert len(list(csv.DictReader((tmp_path / "p.csv").open()))) == 8
    assert "08.png.jpg: not written" in capsys.readouterr().err


def test_what_was_examined_before_an_interruption_is_in_the_table(bundle_folder, photos, tmp_path, monkeypatch):
    def interrupted(result):
        if result.name.startswith("good/02"):
            raise KeyboardInterrupt
        return result.name

    monkeypatch.setattr(detect, "described", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect.main([str(photos), "--bundle", str(bundle_folder), "--out", str(tmp_path / "p.csv")])
    names = [line["file"] for line in csv.DictReader((tmp_path / "p.csv").open())]
    assert names[-1] == "good/02.png" and len(names) == 11


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
    same = table.assign(onnx_score=table["pytorch_score"], file_score=table["pytorch_score"])
    check(same, near, Exactness())
    for column in ("onnx_score", "file_score"):
        flipped = same.assign(**{column: [near * (1 + 1e-6), *same[column][1:]]})
        with pytest.raises(InputError, match="decides otherwise"):
            check(flipped, near, Exactness())
    with pytest.raises(InputError, match="no test photographs"):
        compare(detector, detect.Bundle(bundle_folder), [], photos)


def test_a_photograph_that_a_bundle_cannot_read_is_named(detector, bundle_folder, tmp_path):
    deep = np.random.default_rng(0).integers(0, 4096, (96, 96), dtype=np.uint16)
    content = io.BytesIO()
    Image.fromarray(deep).save(content, "TIFF")
    inverted = content.getvalue().replace(struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0))
    (tmp_path / "a.tif").write_bytes(inverted)
    with pytest.raises(InputError, match=r"a bundle cannot read .*a\.tif"):
        compare(detector, detect.Bundle(bundle_folder), [tmp_path / "a.tif"], tmp_path)


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


def test_a_table_that_cannot_be_written_is_told_before_any_work(bundle_folder, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(detect, "examine", None)
    (tmp_path / "results").mkdir()
    (tmp_path / "file").touch()
    for out, said in (("results", "a folder; expected the name of a table"), ("file/p.csv", "cannot be written")):
        arguments = [str(photos), "--bundle", str(bundle_folder), "--out", str(tmp_path / out)]
        assert detect.main(arguments) == 2
        assert said in capsys.readouterr().err
    assert not list((tmp_path / "results").iterdir())


def test_at_sigterm_the_table_has_what_was_examined(bundle_folder, photos, tmp_path):
    """As a container is stopped."""
    for number in range(40):
        (tmp_path / f"many/{number}").mkdir(parents=True)
        for path in (photos / "good").iterdir():
            os.link(path, tmp_path / f"many/{number}/{path.name}")
    running = subprocess.Popen(
        [sys.executable, str(bundle_folder / "detect.py"), "many", "--out", "p.csv"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(5):
        running.stdout.readline()
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert 5 <= len(pd.read_csv(tmp_path / "p.csv")) < 320
