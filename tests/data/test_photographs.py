"""Folders of images to blend in."""

import numpy as np
import pytest
from PIL import Image

from discrepancy.errors import InputError
from discrepancy.methods.dfc.blending import ImageFolder


def test_images_below_a_folder_are_decoded_when_asked_for(tmp_path):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (50, 40), (1, 2, 3)).save(tmp_path / "deep/a.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    folder = ImageFolder(tmp_path, (32, 16))
    assert len(folder) == 1 and folder[0].shape == (3, 32, 16)
    assert (folder[0] == np.array([1, 2, 3])[:, None, None]).all()


def test_a_missing_or_empty_folder_is_named(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=str(folder)):
            ImageFolder(folder, (32, 32))
