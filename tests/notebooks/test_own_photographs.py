"""The notebook from a folder of photographs to decisions, executed on the demo and on photographs of one's own."""

import re

from tests.notebooks.execution import execute, read, said, shown


def test_on_the_rendered_demo(tmp_path):
    parameters = 'GOOD = NEW = None\nMETHOD = "padim"\nIMAGE_SIZE = 96'
    notebook = execute(read("own_photographs"), tmp_path, tmp_path / "settings", parameters=parameters)
    assert said(notebook) == []
    tables = shown(notebook, "text/html")
    assert "<th>score</th>" in tables[0] and "<td>anomalous</td>" in tables[0] and "<th>peak</th>" in tables[2]
    assert len(shown(notebook, "image/png")) == 2
    assert "PaDiM for folder/good, 96x96 px" in shown(notebook, "text/plain")[0]
    assert "'maps', 'masks', 'overlays', 'predictions.csv'" in shown(notebook, "text/plain")[-1]


def test_on_photographs_of_ones_own(part, tmp_path):
    disc = part / "disc"
    parameters = f'GOOD = "{disc}/train/good"\nNEW = "{disc}/test/scratch"\nMETHOD = "padim"\nIMAGE_SIZE = "96x80"'
    notebook = execute(read("own_photographs"), tmp_path, tmp_path / "settings", parameters=parameters)
    assert "96x80 px" in shown(notebook, "text/plain")[0]
    counts = dict(re.findall(r"<th>(\w+)</th>\s*<td>(\d+)</td>", shown(notebook, "text/html")[1]))
    assert sum(map(int, counts.values())) == 3
