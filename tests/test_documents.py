"""Documents agree with the files that they speak of, and are written as the project's documents are."""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
FILLED = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *FILLED})
ARCHITECTURE = ROOT / "docs/architecture.md"
SOURCE = ROOT / "src/discrepancy"
SUFFIXES = ("py", "yml", "toml", "csv", "json", "md", "ipynb")
# Written by runs, by users, part of VisA, an example.
NOT_OURS = r"data/0|conf/\w+/(mlflow|catalog|credentials)\.yml|split_csv/|.*zscore"
MOST_WORDS = 30
MOST_LINES = 120

FENCE = re.compile(r"^ {0,3}```.*?^ {0,3}```[ \t]*$", re.MULTILINE | re.DOTALL)


def tool(name):
    """A program of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results():
    """The tool that writes the tables."""
    return tool("results")


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


@each(FILLED)
def test_tables_are_those_of_the_result_files(results, path):
    text = path.read_text(encoding="utf-8")
    assert results.filled(text) == text


def test_every_table_has_numbers_and_a_place(results):
    texts = "".join(path.read_text(encoding="utf-8") for path in FILLED)
    asked = re.findall(r"<!-- table: (.+?) -->", texts)
    assert sorted(set(asked)) == sorted(results.TABLES)
    assert [name for name in asked if len(results.TABLES[name]().splitlines()) < 3] == []


@each(DOCUMENTS)
def test_links_lead_to_files(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    here = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in here if not (path.parent / link).exists()] == []


@each(DOCUMENTS)
def test_links_to_headings_lead_there(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    wrong = []
    for file, heading in re.findall(r"\]\(([^)\s:#]*)#([^)\s]+)\)", text):
        if heading not in headings((path.parent / file) if file else path):
            wrong.append(f"{file}#{heading}")
    assert wrong == []


def headings(path):
    """The anchors of a document's headings, as GitHub makes them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {heading.replace(" ", "-") for heading in words}


@each(DOCUMENTS)
def test_files_that_are_named_exist(path):
    """Paths in code are from the project's folder or from the package's."""
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:[\w-]+/)+[\w.-]+\.(?:{'|'.join(SUFFIXES)}))`", text))
    wrong = [name for name in named if not any((folder / name).exists() for folder in (ROOT, SOURCE))]
    assert [name for name in wrong if not re.match(NOT_OURS, name)] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@each(DOCUMENTS)
def test_code_blocks_are_fenced_and_name_their_language(path):
    text = path.read_text(encoding="utf-8")
    opening = re.findall(r"^ {0,3}```(.*)$", text, re.MULTILINE)[::2]
    assert [f"fence {number}" for number, language in enumerate(opening, 1) if not re.fullmatch(r"\w+", language)] == []
    indented = re.findall(r"(?:\A|\n[ \t]*\n)( {4,}(?![-*+] |\d+\. )\S.*)", FENCE.sub("", text))
    assert indented == []


def sentences(text):
    """The sentences of a document's prose: no code, tables, headings or pictures; of links only what is read."""
    text = FENCE.sub("\n\n", text)
    text = re.sub(r"<!--.*?-->|<img[^>]*>", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"^(\||#|\[[^\]]+\]: ).*$", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]+`", "code", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^ *([-*+]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(re.sub(r"[*_]{1,2}(\S)|(\S)[*_]{1,2}", r"\1\2", paragraph).split())
        yield from (part for part in re.split(r"(?<=[.!?])[\")]*\s+(?=[A-Z0-9\"(]|code)", plain) if part)


def words(sentence):
    return [word for word in sentence.split() if re.search(r"\w", word)]


@each(DOCUMENTS)
def test_sentences_are_short(path):
    long = {s: len(words(s)) for s in sentences(path.read_text(encoding="utf-8")) if len(words(s)) > MOST_WORDS}
    assert long == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two.\nThree\nfour. Five", ["One two.", "Three four.", "Five"]),
        ("- one two\n- three", ["one two", "three"]),
        ("# Head\n\nOne [two three](http://a/b c) `four five`.", ["One two three code."]),
        ("One\n\n```bash\nmake it\n```\n\n| a | b |\n| --- | --- |\n\n**Two** 3.5 fast.", ["One", "Two 3.5 fast."]),
    ],
)
def test_sentences_are_those_of_the_prose(text, expected):
    assert list(sentences(text)) == expected


def test_every_package_is_named_in_the_architecture():
    inside = {file.parent.relative_to(SOURCE).as_posix() for file in SOURCE.rglob("__init__.py")} - {"."}
    named = set(re.findall(r"`([a-z_0-9/]+)`", ARCHITECTURE.read_text(encoding="utf-8")))
    assert sorted(inside - named) == []
    paths = {name for name in named if "/" in name and name.partition("/")[0] in inside}
    assert sorted(paths - inside) == []


def test_the_picture_of_the_architecture_shows_the_imports_of_today():
    """If not: `python tools/architecture.py`."""
    architecture = tool("architecture")
    with Image.open(architecture.PICTURE) as picture:
        shown = json.loads(picture.info["Description"])
    assert shown == json.loads(architecture.read_house().shown())


def test_a_package_without_a_place_is_not_left_out_of_the_picture(monkeypatch):
    architecture = tool("architecture")
    monkeypatch.delitem(architecture.PLACES, "metrics")
    with pytest.raises(LookupError, match="metrics"):
        architecture.read_house()


def test_the_way_of_the_data_names_packages():
    architecture = tool("architecture")
    named = {name for *_, names in architecture.STATIONS for name in names.split(", ")}
    assert named <= set(architecture.read_house().packages)


@pytest.fixture
def examples(tmp_path):
    """The Python of docs/extending.md: a method, and a layout."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), re.DOTALL)
    modules = []
    for number, block in enumerate(blocks[:2]):
        file = tmp_path / f"extending_{number}.py"
        file.write_text(block, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(file.stem, file)
        modules.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(modules[-1])
    return modules


def test_the_method_that_is_shown_works(examples, tmp_path):
    from discrepancy.features.backbones import build_backbone
    from discrepancy.methods.base import TrainingData, new_card

    method = examples[0].ZScore
    parameters = method.Parameters(device="cpu")
    backbone = build_backbone(parameters.backbone)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 64, 96), dtype=np.uint8)
    features = {name: maps.numpy() for name, maps in backbone(torch.from_numpy(images)).items()}
    card = new_card(method, parameters, backbone, image_size=(64, 96), data_digest="0" * 64)
    detector = method(backbone, parameters, card)
    detector.fit(TrainingData(images, features, examples=4))
    spread = [maps[:4].transpose(1, 0, 2, 3).reshape(maps.shape[1], -1) for maps in features.values()]
    first = [(maps[0] - s.mean(1)[:, None, None]) / s.std(1, ddof=1)[:, None, None]
             for maps, s in zip(features.values(), spread, strict=True)]  # fmt: skip
    squares = [torch.from_numpy((z**2).mean(0))[None, None] for z in first]
    expected = sum(torch.nn.functional.interpolate(s, (64, 96), mode="bilinear")[0, 0] for s in squares) / len(squares)
    assert torch.allclose(detector.score(images).maps[0], expected, rtol=1e-4)


def test_the_layout_that_is_shown_works(examples, tmp_path):
    from discrepancy.data.samples import sample_table

    names = ["ok/0.png", "ok/1.png", "defect/a.png", "defect/a.mask.png"]
    for number, name in enumerate(names):
        (tmp_path / "part" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L" if "mask" in name else "RGB", (8, 8), number).save(tmp_path / "part" / name)
    table = sample_table(examples[1].scan_two_folders(tmp_path / "part"), root=tmp_path)
    assert table[["image", "mask", "split", "label"]].to_numpy().tolist() == [
        ["part/defect/a.png", "part/defect/a.mask.png", "test", 1],
        ["part/ok/0.png", "", "test", 0],
        ["part/ok/1.png", "", "train", 0],
    ]


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert f"## [{project['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_hooks_run_the_ruff_that_is_tested():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["rev"] for repo in hooks if "ruff" in repo["repo"]] == [f"v{pins['ruff']}"]
