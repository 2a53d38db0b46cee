"""A small detector with thresholds, and photographs for it."""

import numpy as np
import pytest
from PIL import Image

from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.padim.model import PaDiM
from discrepancy.methods.padim.parameters import PaDiMParameters
from discrepancy.prediction import Detector
from tests.tiny import backbone, features, good_images, unseen_and_defective  # noqa: F401

SIGMA = 2.0


def with_thresholds(method, image, pixel):
    """As on cards of format 1: pixels above a threshold are outlined, whatever was decided on the image."""
    method.card = method.card.with_entries(
        format=1, thresholds={"image": {"value": image, "images": 3}, "pixel": {"value": pixel, "images": 3}}
    )
    return method


def with_calibration(method, value, scores):
    """Outlines are of parts that do not pass; `scores` are those of good images."""
    count = {"images": len(scores)}
    image = {"value": value, "target_fpr": 0.01, "rule": "gumbel", "scores": scores, **count}
    pixel = {"of": "images", "value": value, "low": 0.8 * value, "sigma": SIGMA, "smallest": 4, **count}
    method.card = method.card.with_entries(thresholds={"image": image, "pixel": pixel})
    return method


@pytest.fixture(scope="session")
def method(backbone, features, good_images):  # noqa: F811
    """PaDiM of striped images 96x96, its thresholds between good and defective ones."""
    parameters = PaDiMParameters(channels=20, augmentation="none", device="cpu")
    card = new_card(
        PaDiM, parameters, backbone, image_size=(96, 96), data_digest="d", images={"train": 18, "validation": 0}
    )
    method = PaDiM(backbone, parameters, card)
    method.fit(TrainingData(good_images, features, 18))
    images, _ = unseen_and_defective()
    scores = method.eval().score(images).image_scores.numpy()
    value = float((scores[:8].max() + scores[8:].min()) / 2)
    return with_calibration(method, value, scores[:8].tolist())


@pytest.fixture
def detector(method):
    return Detector(method, device="cpu")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Eight good photographs of 96x96 px and eight defective ones, in folders of their own; and what is none."""
    folder = tmp_path_factory.mktemp("photos")
    images, _ = unseen_and_defective()
    for index, image in enumerate(images):
        path = folder / ("good" if index < 8 else "bad/scratched") / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("none")
    return folder


@pytest.fixture(scope="session")
def pixels():
    """The same as an array, uint8 [16, 96, 96, 3]."""
    return np.ascontiguousarray(unseen_and_defective()[0].transpose(0, 2, 3, 1))
