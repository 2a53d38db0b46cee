"""The report of a run: what it says, what it shows, and that nothing is fetched."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from discrepancy.figures import style
from discrepancy.figures.decisions import decisions
from discrepancy.figures.overlays import boundary
from tests.made_up_report import LINKS, LONG, NOTE, made_up_card, made_up_report, made_up_test_set


class Reader(HTMLParser):
    """Tags, the words of each section by its heading, and rows of tables."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.sections, self.rows, self.headings = [], {"": ""}, [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "h2":
            self.headings.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data):
        last = self.tags[-1][0] if self.tags else ""
        if last == "h2" and data.strip():
            self.headings[-1] += data
        elif last in {"td", "th"} and data.strip():
            self.rows[-1][-1] += data
        heading = self.headings[-1] if self.headings else ""
        self.sections[heading] = self.sections.get(heading, "") + data


@pytest.fixture(scope="module")
def text():
    return made_up_report()


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def pictures(read, words):
    """The pictures whose description begins with these words."""
    found = [attrs for tag, attrs in read.tags if tag == "img" and attrs["alt"].startswith(words)]
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(attrs["src"].partition(",")[2]))).convert("RGB"))
        for attrs in found
    ]


def test_the_heading_says_what_when_and_how_well(text, read):
    assert "<h1>DFC on gear (synthetic images)</h1>" in text and LINKS["date"] in read.sections[""]
    assert "12 of 16 defective parts found, 3 false alarms among 12 good parts." in text
    assert "synthetic" not in made_up_report(card=made_up_card(dataset="folder"))


def test_metrics_stand_with_the_images_behind_them(read):
    rows = {row[0]: row[1:3] for row in read.rows}
    assert rows["image AUROC"] == ["0.875", "12 good, 16 defective images"]
    assert rows["pixel AUROC"] == ["0.750", "pixels of 28 images, defects marked in 16 images"]
    assert rows["AUPRO at 0.30"] == ["0.625", "16 marked regions in 16 images, good pixels of 28 images"]
    assert rows["detection rate"] == ["0.750", "16 defective images"]
    assert "images/s" not in rows and rows[LONG][:2] == ["16", "0.875"]


def test_an_undefined_metric_is_a_dash_with_its_reason():
    read = Reader(made_up_report(metrics={"pixel_auroc": None}))
    assert {row[0]: row[1] for row in read.rows}["pixel AUROC"] == "-"
    assert "no defect is marked by a mask: metrics of images only" in read.sections["Metrics"]
    assert "None" not in read.sections["Metrics"] and "nan" not in read.sections["Metrics"]


def test_thresholds_say_how_uncertain_they_are(read):
    assert f"Images: {NOTE}" in read.sections["Thresholds"] and "Outlines: x" in read.sections["Thresholds"]


def test_the_worst_decisions_are_large_and_the_wrong_ones_come_first(text, read):
    verdicts = re.findall(r'<b class="(right|wrong)">([^<]*)</b>', text)
    assert len(verdicts) == 20
    assert [kind for kind, _ in verdicts] == ["wrong"] * 7 + ["right"] * 13
    assert {words for kind, words in verdicts if kind == "wrong"} == {"defective, missed", "good, false alarm"}
    assert any(heading.startswith("The hardest cases: the 7 wrong decisions") for heading in read.headings)


def test_each_decision_shows_photograph_outline_and_ground_truth(read):
    images, masks, scored, scores = made_up_test_set()
    number = scores[(scores["label"] == 1) & (scores["score"] > 0.5)]["score"].idxmin()
    name = scores["image"][number]
    [photograph] = pictures(read, f"Photograph, detected outline of {name}")
    found = scored.maps[number] > 0.5
    line = boundary(found)
    colour = np.array([int(style.FOUND[i : i + 2], 16) for i in (1, 3, 5)])
    assert photograph.shape == (48, 48, 3) and np.abs(photograph[line].astype(int) - colour).mean() < 40
    away = np.ones_like(line)
    away[4:24, 6:34] = False
    difference = photograph[away].astype(int) - images[number].transpose(1, 2, 0)[away]
    assert np.abs(difference).mean() < 20  # noise, as JPEG
    [truth] = pictures(read, f"Ground truth of {name}")
    blue = truth[..., 2].astype(int) - truth[..., 0]
    assert blue[masks[number]].mean() > 50 and np.abs(blue[~masks[number]]).mean() < 10


def test_decisions_stay_within_their_bytes():
    images, masks, scored, scores = made_up_test_set(3, 3, side=240)
    most = 150_000
    options = {"found": scored.maps > 0.5, "level": 0.5, "image_threshold": 0.5}
    free, fitting = (
        decisions(images, masks, scored.maps, scores, [0, 4], **options, most=limit) for limit in (10**9, most)
    )
    assert len(fitting) < most * 4 / 3 + 3000 < len(free)  # bytes in base64, and the words


def test_parameters_that_differ_stand_first_and_all_are_in_a_closed_part(text, read):
    differing, _, closed = text[text.index("Parameters that differ") :].partition("<details>")
    assert not re.search("<details[^>]* open", text)
    rows = [row for row in Reader(differing).rows if row[0] != "parameter"]
    assert [row[:3] for row in rows] == [
        ["dfc.backbone", "vgg19", "tf_efficientnet_lite0"],
        ["dfc.epochs", "3", "null"],
        ["scoring.false_positive_rate", "0.02", "0.01"],
    ]
    names = [row[0] for row in Reader(closed.partition("</details>")[0]).rows]
    assert {"dfc.width", "ingestion.image_size", "scoring.batch_size", "reporting.worst"} <= set(names)


def test_data_and_detector(read):
    assert {"train": ["5", "0"], "validation": ["3", "0"], "test": ["12", "16"]}.items() <= {
        row[0]: row[1:] for row in read.rows
    }.items()
    assert "a" * 64 in read.sections["Data"] and "48 x 48 px" in read.sections["Data"]
    for words in ("cpu in fp32", "torch 2.0", "vgg19, layers relu1_1", "0" * 64, LINKS["mlflow_command"]):
        assert words in read.sections["Detector"]


def test_links_lead_to_the_detector_and_to_mlflow(read):
    addresses = [attrs["href"] for tag, attrs in read.tags if tag == "a" and not attrs["href"].startswith("#")]
    assert addresses == [LINKS["detector_link"], LINKS["mlflow"]]


def test_without_links_nothing_is_said_of_them():
    text = made_up_report(links={})
    assert "MLflow" not in text and "<dt>Date</dt>" not in text


def test_contents_lead_to_the_sections(read):
    places = {attrs["id"] for tag, attrs in read.tags if tag == "section"}
    links = [attrs["href"] for tag, attrs in read.tags if tag == "a" and attrs["href"].startswith("#")]
    assert [link[1:] for link in links] == sorted(places) and len(links) == len(read.headings) == 9


def test_every_figure_is_inside_once(read):
    described = [attrs["alt"] for tag, attrs in read.tags if tag == "img"]
    for words in ("ROC curves of images and pixels", "PRO curve", "Image scores of the test images"):
        assert described.count(words) == 1
    assert "Loss per epoch" not in described
    assert "Correlation" in made_up_report(correlation_figure=np.zeros((9, 9, 3), np.uint8))


def test_nothing_is_fetched(text, read):
    sources = [attrs[name] for _, attrs in read.tags for name in ("src", "srcset", "data") if name in attrs]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.tags}
    assert "url(" not in text and "@import" not in text


def test_names_cannot_become_markup():
    text = made_up_report(card=made_up_card(category="<b>gear</b>", data_digest="a" * 64))
    assert "<b>gear" not in text and "&lt;b&gt;gear" in text
