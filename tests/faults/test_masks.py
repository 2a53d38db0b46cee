"""What inspection says of doubtful masks, a run says as well, while it decodes them."""

import logging

import numpy as np
import pytest
from PIL import Image

from discrepancy.data import images
from discrepancy.data.data_report import build_report
from discrepancy.data.images import ResizeCrop
from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import open_photographs
from discrepancy.pipelines.ingestion.nodes import decode_masks, split_samples

SIDE = 16


def sound(index):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:8, 3 + index : 8 + index] = 255
    return mask


def speck(index):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[0, index] = 255
    return mask


@pytest.fixture
def part(tmp_path):
    def put(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def make(mask):
        rng = np.random.default_rng(0)
        for index in range(3):
            for folder in ("train/good", "test/good", "test/dent"):
                put(tmp_path / f"gear/{folder}/{index}.png", rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
            put(tmp_path / f"gear/ground_truth/dent/{index}_mask.png", mask(index))
        return tmp_path

    return make


def warned(root, caplog, **size):
    parameters = IngestionParameters(dataset="folder", category="gear", **size)
    found = open_photographs("folder", "gear", root)
    caplog.clear()
    masks = decode_masks(found, split_samples(found, parameters), parameters).to_numpy()
    assert masks.shape == (6, *parameters.size)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (lambda index: 255 - sound(index), "mask marks most of it"),
        (lambda index: np.random.default_rng(index).integers(0, 256, (SIDE, SIDE), dtype=np.uint8), "marks most of it"),
        (lambda index: np.zeros((SIDE, SIDE), np.uint8), "empty mask"),
        (speck, "defect lost"),
        (lambda index: sound(0), "the same mask"),
    ],
    ids=["inverted", "a photograph", "empty", "lost", "another's"],
)
def test_a_run_warns_as_inspection_does(part, caplog, mask, problem):
    root = part(mask)
    texts = warned(root, caplog, image_size=8)
    assert len(texts) == 1 and problem in texts[0] and "gear/ground_truth/dent/" in texts[0]
    problems = build_report("folder", root, "gear", ResizeCrop((8, 8))).problems
    said = problems[problems["problem"].str.contains(problem)]
    assert len(said) == int(texts[0].split(" of the masks")[0].split()[-1]) > 0
    assert f"{said['file'].iloc[0]} ({said['detail'].iloc[0]})" in texts[0]


def test_sound_masks_are_not_spoken_of(part, caplog):
    assert warned(part(sound), caplog, image_size=8) == []


def test_each_mask_is_decoded_once(part, caplog, monkeypatch):
    root, decoded = part(sound), []
    read = images.read_mask
    monkeypatch.setattr(images, "read_mask", lambda path: decoded.append(path) or read(path))
    warned(root, caplog, image_size=8)
    assert len(decoded) == len(set(decoded)) == 3
