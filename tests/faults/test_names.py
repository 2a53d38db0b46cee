"""Names of files and kinds of defects, of any length and in any script, come through tables, figures and pages."""

import io
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from discrepancy import datasets
from discrepancy.data.images import ResizeCrop
from discrepancy.data.native_resolution import NativeResolutionMaps
from discrepancy.datasets import PicturesDataset
from discrepancy.detection import ScoredMaps
from discrepancy.figures import fonts, style
from discrepancy.figures.cases import Section
from discrepancy.figures.contact_sheet import contact_sheet
from discrepancy.figures.gallery import gallery
from discrepancy.figures.html import html_page, html_table
from discrepancy.figures.scores import score_histogram
from discrepancy.figures.segmentation import Segmentations
from discrepancy.figures.tables import text_table
from discrepancy.names import shortened
from discrepancy.pipelines.reporting.nodes import tabulate

CONF = Path(__file__).parents[2] / "conf/base"
LONG = ["x" * 251 + ".png", "x" * 250 + "y.png", "部" * 83 + ".png", "a.png"]
ODD = [
    *("a b.png", "a,b.png", 'a"b.png', "a'b.png", "a\nb.png", "a\rb.png", "a\r\nb.png", "a\tb.png", " a", "a ", "#a"),
    *("[1].png", "{x}.png", "${x}.png", "%d.png", "$x_{.png", "<script>alert(1)</script>.png", "&amp;.png", "\\n.png"),
    *("01", "1e3", "0x10", "1_000", "-0", "nan", "NaN", "NA", "N/A", "null", "None", "True", "no", "inf", "2026-11-27"),
    *("部品.png", "부품.png", "ชิ้นส่วน.png", "قطعة.png", "🔩.png", "e\u0301.png", "\u202egnp.png", "\ufeffa.png"),
]


@pytest.mark.parametrize("folder", ["", "y" * 255 + "/"])
def test_names_of_pictures_fit_the_file_system_and_differ(tmp_path, folder):
    rng = np.random.default_rng(0)
    names = [f"gear/test/{folder}{name}" for name in LONG]
    images = rng.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    maps = rng.random((4, 8, 8)).astype(np.float32)
    for target, drawn in (
        ("three", Segmentations(images, maps, names, maps > 0.5, 0.5)),
        ("maps", NativeResolutionMaps(maps, names, [(8, 8)] * 4, ResizeCrop((8, 8)))),
    ):
        pictures = dict(drawn)
        dataset = PicturesDataset(filepath=str(tmp_path / target))
        dataset.save(pictures.items())
        saved = dataset.load()
        assert len(saved) == len(pictures) == (12 if target == "three" else 4)
        assert all(len(os.fsencode(Path(path).name)) <= 255 for path in saved.values())
        ends = [name[-8:] for name in saved]
        assert sorted(ends) == sorted(name[-8:] for name in pictures)
    assert "a.tiff" in {Path(path).name for path in saved.values()}


@pytest.mark.parametrize("most", [255, 143])
def test_a_short_name_stays_and_a_long_one_keeps_its_ends(most):
    assert shortened("a.png", most) == "a.png" and shortened("x" * most, most) == "x" * most
    name = shortened("部品" * 100 + "_outline.png", most)
    assert most - 4 <= len(os.fsencode(name)) <= most
    assert name.startswith("部品部品") and name.endswith("部品_outline.png")


def table_dataset(path, name, file):
    """The dataset of the catalog, of a file elsewhere."""
    entry = yaml.safe_load((CONF / file).read_text(encoding="utf-8"))[name]
    kind = getattr(datasets, entry["type"].rpartition(".")[2])
    return kind(filepath=str(path), **{key: entry.get(key) for key in ("load_args", "save_args")})


def test_the_sample_table_gives_back_every_name(tmp_path):
    count = len(ODD)
    splits = ["train"] * 2 + ["validation"] * 2 + ["test"] * (count - 4)
    names = {"image": ODD, "mask": ["", *ODD[1:]], "split": splits, "label": [0] * 4 + [1] * (count - 4), "defect": ODD}
    table = pd.DataFrame({**names, "width": 8, "height": 9, "sha256": "0" * 64, "bit_depth": 0})
    for _ in range(2):  # the second time what the first has written is read
        dataset = table_dataset(tmp_path / "samples.csv", "samples", "catalog_02_intermediate.yml")
        if not dataset.exists():
            dataset.save(table)
        pd.testing.assert_frame_equal(dataset.load(), table, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "file", "columns"),
    [
        ("{method}.scores", "catalog_08_reporting.yml", ["image", "defect"]),
        ("{method}.table", "catalog_08_reporting.yml", ["defect"]),
        ("inspect.{table}_table", "catalog_08_reporting.yml", ["image", "defect", "file"]),
    ],
)
def test_tables_give_back_every_name(tmp_path, name, file, columns):
    table = pd.DataFrame(dict.fromkeys(columns, ODD)).assign(score=np.linspace(0, 1, len(ODD)), label=0)
    dataset = table_dataset(tmp_path / "table.csv", name, file)
    dataset.save(table)
    found = dataset.load()
    for column in columns:
        assert list(found[column]) == ODD
    assert found["score"].tolist() == table["score"].tolist() and found["label"].dtype == int


def test_kinds_that_look_like_numbers_stay_kinds(tmp_path):
    """From the scores to the line of the terminal, by way of the tables on disk."""
    kinds = ["01", "1", "1e3", "nan", "None", "True"]
    rows = [("good", 0, 0.1)] * 2 + [(kind, 1, 0.9) for kind in kinds]
    scores = pd.DataFrame(rows, columns=["defect", "label", "score"]).assign(image="a.png", decision="anomalous")
    save = table_dataset(tmp_path / "s.csv", "{method}.scores", "catalog_08_reporting.yml")
    save.save(scores)
    masks = np.zeros((8, 4, 4), bool)
    masks[2:, 1, 1] = True
    metrics = {"image_auroc": 1.0, "pixel_auroc": None, "aupro_0.30": None}
    table = tabulate(ScoredMaps(masks.astype(np.float32), np.zeros(len(masks)), 1.0), masks, save.load(), metrics)
    save = table_dataset(tmp_path / "t.csv", "{method}.table", "catalog_08_reporting.yml")
    save.save(table)
    assert list(save.load()["defect"]) == [*sorted(kinds), "all"]
    assert [line.split()[0] for line in text_table(save.load()).splitlines()[2:]] == [*sorted(kinds), "all"]
    assert save.load()["pixel_auroc"].isna().tolist() == [False] * 6 + [True]


def draw_everything(names):
    """The texts of figures in which every name is a file, a kind of defect, a heading and a title."""
    rng = np.random.default_rng(0)
    count = len(names)
    images, maps = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), rng.random((count, 8, 8))
    labels, found = np.ones(count, int), maps > 0.9
    table = pd.DataFrame({"image": names, "label": labels, "defect": names, "score": rng.random(count)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw = partial(gallery, images, found, maps, table, found=found, level=0.5, image_threshold=0.5)
        tiles = {name: [(name, name, images[0].transpose(1, 2, 0), None)] for name in names}
        for figure in (
            draw(sections=[Section("", list(range(count)))]),
            *(draw(sections=[], title=name) for name in names),
            score_histogram(table["score"], labels, 0.5, defects=names),
            contact_sheet(tiles, title=names[0]),
        ):
            figure.savefig(io.BytesIO())
            for text in figure.findobj(lambda artist: hasattr(artist, "get_text")):
                yield text.get_text()


@pytest.mark.parametrize("first", range(0, len(ODD + LONG), 8))
def test_every_name_can_be_drawn_on_one_line(first):
    texts = list(draw_everything([*ODD, *LONG][first : first + 8]))
    assert all(text.count("\n") <= 1 for text in texts)  # a row's label and its count are two lines


def test_what_no_font_has_is_written_as_its_escape(monkeypatch):
    monkeypatch.setattr(style, "font_of", lambda c, bold=False: fonts.font_of(c, bold=bold) if c < "\u3000" else None)
    assert style.one_line("部品\n1.png") == r"\u90e8\u54c1\n1.png"
    assert style.one_line("\x07\u202e🔩") == r"\x07\u202e\U0001f529"
    assert any(r"\u90e8\u54c1.png" in text for text in draw_everything(["部品.png", "a", "b"]))


def test_an_installed_font_writes_what_matplotlibs_own_lacks(tmp_path, monkeypatch):
    """A font of one glyph, under a name of those that are looked for."""
    pen = TTGlyphPen(None)
    for place, corner in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
        (pen.lineTo if place else pen.moveTo)(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord("部"): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Noto Sans CJK JP", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "NotoSansCJK-Regular.ttf")

    def forget():
        for cached in (fonts.families, fonts.font_of, fonts._fonts, style._advance):
            cached.cache_clear()

    known = list(fontManager.ttflist)
    monkeypatch.setattr(fontManager, "ttflist", [font for font in known if "CJK" not in font.name])
    monkeypatch.setattr(fonts, "_installed", lambda: [f.name for f in fontManager.ttflist if "CJK" in f.name][:1])
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(tmp_path / "NotoSansCJK-Regular.ttf")])
    forget()
    try:
        assert fonts.families() == ("DejaVu Sans", "Noto Sans CJK JP")
        assert style.printable("a部") == "a部"
        figure = style.new_figure(2, 1)
        drawn = figure.text(0, 0, "部" * 5, **style.text(12))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.savefig(io.BytesIO())
        assert style.width("部" * 5, 12) == pytest.approx(drawn.get_window_extent().width, abs=3)
    finally:
        fontManager.ttflist = known
        fontManager._findfont_cached.cache_clear() if hasattr(fontManager, "_findfont_cached") else None
        forget()


@pytest.mark.parametrize("name", ODD)
def test_a_page_shows_names_and_runs_none(name):
    page = html_page(name, [(name, html_table(pd.DataFrame({name: [name]})))], intro=name)
    assert "<script>" not in page and "alert(1)" not in page.replace("&lt;script&gt;alert(1)", "")
