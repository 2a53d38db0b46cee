"""Whatever lies in a category's folder: a table or one clear error, and no file is lost without a word."""

import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from discrepancy.data.data_report import build_report
from discrepancy.data.images import ResizeCrop
from discrepancy.data.layouts import LAYOUTS
from discrepancy.data.samples import sample_table
from discrepancy.errors import InputError

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
    """No two photographs are alike: the same one in training and in test would be refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in {".png", ".jpg", ".bmp", ".tif"}:
        label = path.stem.endswith("_label") and path.parent.name.lower().startswith("kos")
        noise = np.random.default_rng(zlib.crc32(str(path).encode())).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise * (not label)).save(path)
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
        scan = LAYOUTS[dataset].scan(folder)
        look = build_report(dataset, Path(name), "part", ResizeCrop((8, 8)))
        assert set(look.files["image"]) == {path.image.relative_to(name).as_posix() for path in scan.found}
        assert set(look.left_out["file"]) == {
            path.relative_to(name).as_posix() for path in (*scan.ignored, *scan.unneeded)
        }
        used = {path for found in scan.found for path in (found.image, found.mask) if path}
        named = {**scan.ignored, **scan.unneeded}
        amiss = {**scan.unmasked, **scan.faults}
        for path in folder.rglob("*"):
            if path.is_file():
                assert path in {*used, *amiss} or any(place in named for place in (path, *path.parents)), path
        try:
            assert set(sample_table(scan, root=Path(name))["image"]) == {
                path.image.relative_to(name).as_posix() for path in scan.found
            }
            assert not amiss and "error" not in set(look.problems["severity"])
        except InputError as error:
            assert any(str(path) in str(error) for path in amiss) and "error" in set(look.problems["severity"])
        assert not used & set(named) and len({found.image for found in scan.found}) == len(scan.found)
