"""Every table of the documents is what its result file says, and every picture and page that they link is there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def results():
    """The tool that writes the tables."""
    spec = importlib.util.spec_from_file_location("results", ROOT / "tools/results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_result_files(results, path):
    text = path.read_text(encoding="utf-8")
    assert results.filled(text) == text


def test_every_table_has_numbers_and_a_place(results):
    texts = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    asked = re.findall(r"<!-- table: (.+?) -->", texts)
    assert sorted(set(asked)) == sorted(results.TABLES)
    assert [name for name in asked if len(results.TABLES[name]().splitlines()) < 3] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path):
    text = re.sub(r"^    .*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    here = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in here if not (path.parent / link).exists()] == []
