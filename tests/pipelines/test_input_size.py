"""The crop, from photographs to detector; and maps at the photographs' own sizes."""

import json
from contextlib import chdir

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from discrepancy.cli import run as run_command
from discrepancy.data.images import ResizeCrop, decode_image, decode_mask
from discrepancy.data.native_resolution import at_original_size
from discrepancy.detection import load_method
from tests.conftest import make_project, run_method

QUICK = {"epochs": 2, "width": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def cropped(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("crop") / "project")
    reporting = {"original_maps": True, "segmentations": False}
    version = run_method("dfc", project, part, image_size="88x104", crop="72x80", reporting=reporting, **QUICK)
    return project, version


def test_arrays_hold_the_centre_of_the_resized_photographs(cropped, part):
    project, _ = cropped
    images = np.load(project / "data/03_primary/folder/disc/images.npy")
    masks = np.load(project / "data/03_primary/folder/disc/masks.npy")
    assert images.shape == (16, 3, 72, 80) and masks.shape == (6, 72, 80)
    samples = pd.read_csv(project / "data/02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    resize_crop = ResizeCrop((88, 104), (72, 80))
    np.testing.assert_array_equal(images[-1], decode_image(part / samples["image"].iloc[-1], resize_crop))
    np.testing.assert_array_equal(masks[-1], decode_mask(part / samples["mask"].iloc[-1], resize_crop))


def test_the_detector_says_how_its_images_are_made(cropped):
    project, version = cropped
    detector = load_method(project / "data/06_models/folder/disc/dfc/detector" / version / "detector")
    assert detector.card.image_size == [72, 80]
    assert detector.card.preprocessing == {
        "resample": "bilinear, antialiased",
        "resized_to": [88, 104],
        "crop": "centre",
    }


def test_maps_are_written_at_the_photographs_size(cropped):
    """Named and placed as MVTec AD's own evaluation program wants them: <category>/test/<defect>/<stem>.tiff."""
    project, version = cropped
    folder = project / "data/08_reporting/folder/disc/dfc/original_maps" / version / "original_maps"
    names = [f"disc/test/{kind}/{i:03d}.tiff" for kind in ("good", "scratch") for i in range(3)]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == names
    maps = np.load(project / "data/07_model_output/folder/disc/dfc/maps.npy")
    for name, anomaly_map in zip(names, maps, strict=True):
        written = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        expected = at_original_size(anomaly_map, ResizeCrop((88, 104), (72, 80)), (96, 96))
        np.testing.assert_array_equal(written, expected)


def test_features_of_another_crop_are_others(cropped, part, caplog):
    """The same photographs at the same final size, but resized otherwise before the crop."""
    project, _ = cropped
    caplog.set_level("INFO")
    run_method("dfc", project, part, image_size="80x88", crop="72x80", stages=["ingestion", "training"], **QUICK)
    assert "extracting" in caplog.text
    caplog.clear()
    run_method("dfc", project, part, image_size="88x104", crop="72x80", stages=["ingestion", "training"], **QUICK)
    assert "extracting" not in caplog.text and "from the cache" in caplog.text


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("crop=100", ["crop is 100x100", "at most image_size, 96x96"]),
        ("crop=12x", ["crop is '12x'", "expected one positive whole number"]),
        ("ingestion.crop=50", ["ingestion.crop is not to be set by itself; expected crop=..."]),
        ("reporting.original_maps=perhaps", ["original_maps", "perhaps"]),
    ],
)
def test_wrong_sizes_are_refused(project, part, params, said):
    bootstrap_project(project)
    given = f"--params=dataset=folder,data_root={part},category=disc,image_size=96,{params}"
    with chdir(project):
        result = CliRunner().invoke(run_command, ["--pipelines=dfc", given])
    assert result.exit_code == 1 and result.output.count("Error:") == 1 and "Traceback" not in result.output
    for words in said:
        assert words in result.output
    assert not json.dumps(result.output).count("validation error")
