"""A folder of photographs, and what the steps of the pipeline make of it: names of any kind."""

import json
import os
import re
from urllib.parse import unquote_to_bytes

import pandas as pd
import pytest

from discrepancy.datasets import TableDataset
from discrepancy.pipelines.predict.nodes import examine, find_photographs, tabulate, write_page
from discrepancy.pipelines.predict.parameters import PredictParameters
from discrepancy.prediction.store import PredictionStore

LONG = 251 * "n" + ".png"


@pytest.mark.parametrize(
    ("name", "written"),
    [(b"caf\xe9.png", "caf\\udce9.png"), ("部品.png".encode(), "部品.png"), (LONG.encode(), LONG)],
)
def test_any_name_that_a_file_may_have(detector, photos, tmp_path, name, written):
    """Bytes that are no UTF-8, and names that leave no room for a picture's suffix, stop nothing."""
    (tmp_path / "new").mkdir()
    content = min((photos / "good").iterdir()).read_bytes()
    for one in (name, b"a.png"):
        with open(os.fsencode(tmp_path / "new") + b"/" + one, "wb") as file:
            file.write(content)
    store = PredictionStore(tmp_path / "out")
    parameters = PredictParameters(input=str(tmp_path / "new"), device="cpu", maps=True, masks=True)
    for _ in range(2):
        entries = examine(detector, find_photographs(store, parameters), store, parameters)
    table = tabulate(entries)
    assert table["file"].tolist() == ["a.png", written]
    assert table["score"][0] == table["score"][1]
    TableDataset(filepath=str(tmp_path / "t.csv")).save(table)
    assert pd.read_csv(tmp_path / "t.csv")["file"].tolist() == ["a.png", written]
    page = write_page(entries, detector, parameters)
    rows = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    addresses = {unquote_to_bytes(row["address"]) for row in rows}
    for kind in ("overlays", "thumbnails"):
        assert addresses == set(os.listdir(os.fsencode(tmp_path / "out" / kind)))
    for kind in ("maps", "masks"):
        assert len(os.listdir(tmp_path / "out" / kind)) == 2
