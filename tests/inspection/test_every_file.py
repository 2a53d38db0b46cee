"""Whatever lies in a category's folder: a table or one clear error, and no file is lost without a word."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from discrepancy.errors import InputError
from discrepancy.inspection.layouts import LAYOUTS

NAMES = st.sampled_from(
    ["good", "ok", "ko", "crack", "rgb", "gt", "xyz", "kos01", "kos02", "Data", "Images", "Masks", "Normal", "Anomaly"]
)
FILES = st.sampled_from(
    [
        "000.png",
        "000_mask.png",
        "001.PNG",
        "Part0.jpg",
        "Part0_label.bmp",
        "größe 1.tif",
        "Thumbs.db",
        ".hidden.png",
        "readme.txt",
        "noend",
    ]
)
TOPS = {
    "mvtec_ad": ["train", "test", "ground_truth", "else"],
    "btad": ["train", "test", "ground_truth", "else"],
    "folder": ["good", "crack", "ground_truth", "else"],
    "mvtec_3d": ["train", "validation", "test", "else"],
    "kolektor_sdd": ["kos01", "kos02", "KOS7", "else"],
    "visa": ["Data", "else"],
}
SOUND = {
    "mvtec_ad": ["train/good/a.png", "test/good/a.png"],
    "btad": ["train/ok/a.png", "test/ok/a.png"],
    "folder": ["good/a.png", "good/b.png"],
    "mvtec_3d": ["train/good/rgb/a.png", "validation/good/rgb/a.png", "test/good/rgb/a.png"],
    "kolektor_sdd": [f"kos{item}/a{end}" for item in (8, 9) for end in (".jpg", "_label.bmp")],
    "visa": ["Data/Images/Normal/a.png", "Data/Images/Normal/b.png"],
}
TABLE = "object,split,label,image,mask\npart,train,normal,part/{0},\npart,test,normal,part/{1},\n"


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in {".png", ".jpg", ".bmp", ".tif"}:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    else:
        path.write_text("no image")


@pytest.mark.parametrize("dataset", sorted(TOPS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_file_is_found_or_named(dataset, data):
    tops = st.sampled_from(TOPS[dataset])
    trees = st.lists(st.tuples(tops, st.lists(NAMES, max_size=3), FILES), max_size=8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "part"
        for path in SOUND[dataset]:
            write(folder / path)
        if dataset == "visa":
            (Path(name) / "split_csv").mkdir()
            (Path(name) / "split_csv/1cls.csv").write_text(TABLE.format(*SOUND["visa"]), encoding="utf-8")
        for top, inner, file in data.draw(trees):
            path = folder / top / "/".join(inner) / file
            if not any(parent.is_file() for parent in path.parents):
                write(path)
        try:
            scan = LAYOUTS[dataset].scan(folder)
        except InputError as error:
            assert "no mask" in str(error) or "masks" in str(error) or "share the mask" in str(error)
            return
        used = {path for found in scan.found for path in (found.image, found.mask) if path}
        named = {**scan.ignored, **scan.unneeded}
        for path in folder.rglob("*"):
            if path.is_file():
                assert path in used or any(place in named for place in (path, *path.parents)), path
        assert not used & set(named) and len({found.image for found in scan.found}) == len(scan.found)
