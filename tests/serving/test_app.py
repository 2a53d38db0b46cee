"""The server's answers: those of the detector for photographs, and 4xx for all that is none."""

import asyncio
import base64
import io
import json
from contextlib import nullcontext

import numpy as np
import pytest
from fastapi import Response
from fastapi.testclient import TestClient
from PIL import Image

from discrepancy.export import detect
from discrepancy.serving.app import PIECE, SlotResponse, create_app
from discrepancy.serving.options import Options


@pytest.fixture
def serve(bundle_folder):
    """Return a function that opens a server with options."""
    clients = []

    def serve(**options):
        client = TestClient(create_app(Options(str(bundle_folder), **options)))
        clients.append(client.__enter__())
        return client

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve):
    return serve()


def test_answers_are_those_of_the_detector(client, detector, photos):
    paths = [photos / "good/03.png", photos / "bad/scratched/11.png"]
    for path, expected in zip(paths, detector.predict(paths), strict=True):
        content = path.read_bytes()
        form = client.post("/predict", files={"file": (path.name, content)}).json()
        raw = client.post("/predict", content=content, headers={"content-type": "image/png"}).json()
        assert form.pop("file") == path.name and raw.pop("file") == "photograph"
        assert {**form, "seconds": 0} == {**raw, "seconds": 0}
        assert form["score"] == pytest.approx(expected.score, rel=1e-5)
        assert form["decision"] == expected.decision and form["threshold"] == expected.threshold
        assert form["relative_score"] == pytest.approx(expected.relative_score, rel=1e-3)
        assert form["false_alarm_probability"] == pytest.approx(expected.false_alarm_probability, rel=1e-2)
        assert (form["height"], form["width"]) == expected.size
        assert [tuple(region.values())[:5] for region in form["regions"]] == [
            (one.left, one.top, one.width, one.height, one.area) for one in expected.regions
        ]
        assert "overlay" not in form
    assert form["regions"], "the defective one has some"


def test_the_outline_comes_as_a_picture(client, bundle_folder, photos):
    path = photos / "bad/scratched/11.png"
    answer = client.post("/predict", files={"f": path.read_bytes()}, headers={"accept": "image/png"})
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-decision"] == "anomalous"
    bundle = detect.Bundle(bundle_folder)
    (result,) = bundle.results(["x"], [bundle.read(path.read_bytes(), "x")])
    np.testing.assert_array_equal(Image.open(io.BytesIO(answer.content)), result.overlay(Image.open(path)))
    assert float(answer.headers["x-score"]) == pytest.approx(result.score)


def test_pictures_for_the_page_are_in_the_answer(client, photos):
    answers = [
        client.post("/predict?pictures=true", content=(photos / name).read_bytes()).json()
        for name in ("good/03.png", "bad/scratched/11.png")
    ]
    maps = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["map"].partition(",")[2])))).astype(float)
        for answer in answers
    ]
    assert maps[0].shape == maps[1].shape == (96, 96, 3)
    assert maps[1].max() > maps[0].max() + 30, "the defect is brighter than all of a good part"
    region = answers[1]["regions"][0]
    rows, columns = (slice(region[a], region[a] + region[b]) for a, b in (("top", "height"), ("left", "width")))
    assert maps[1][rows, columns].mean() > 1.5 * maps[1].mean()
    assert answers[1]["overlay"].startswith("data:image/jpeg;base64,")


def picture(size):
    content = io.BytesIO()
    Image.new("L", size).save(content, "PNG")
    return content.getvalue()


GARBAGE = {
    "text": (b"hello", 415),
    "nothing": (b"", 415),
    "json": (b'{"file": 1}', 415),
    "script": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    "cut off": (picture((300, 300))[:-60], 422),
    "bomb": (picture((20_000, 15_000)), 422),
    "large": (bytes(20_000_001), 413),
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("form", [True, False])
@pytest.mark.filterwarnings("ignore:.*decompression bomb")
def test_garbage_is_refused_with_a_reason(client, name, form):
    content, status = GARBAGE[name]
    answer = client.post("/predict", **({"files": {"file": ("a.png", content)}} if form else {"content": content}))
    assert answer.status_code == status
    assert "expected" in answer.json()["detail"] or "cannot be decoded" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"data": {"x": "1"}, "files": None, "headers": {}}, None),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}}, "the form cannot be read"),
        ({"content": b"abc", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "the form"),
        (
            {
                "content": b'--x\r\nContent-Disposition: form-data; name="y"\r\n\r\n1\r\n--x--\r\n',
                "headers": {"content-type": "multipart/form-data; boundary=x"},
            },
            "the form has no file; expected one",
        ),
    ],
)
def test_broken_forms_are_refused(client, request_, said):
    answer = client.post("/predict", **request_)
    assert 400 <= answer.status_code < 500
    if said:
        assert answer.status_code == 400 and said in answer.json()["detail"]


def test_limits_are_those_of_the_options(serve, photos):
    content = (photos / "good/03.png").read_bytes()
    answer = serve(max_pixels=5000).post("/predict", content=content)
    assert answer.status_code == 422 and "96 x 96 pixels: expected at most 5,000" in answer.json()["detail"]
    assert serve(max_bytes=len(content) - 1).post("/predict", content=content).status_code == 413
    assert serve(max_bytes=len(content), max_pixels=96 * 96).post("/predict", content=content).status_code == 200


def test_what_is_not_known_is_null(bundle_folder, photos):
    card = json.loads((bundle_folder / "card.json").read_text())
    card["bundle"]["false_alarms"] = None
    (bundle_folder / "card.json").write_text(json.dumps(card))
    client = TestClient(create_app(Options(str(bundle_folder))))
    with client:
        found = client.post("/predict", content=(photos / "good/03.png").read_bytes()).json()
    assert found["false_alarm_probability"] is None and found["relative_score"] < 1


@pytest.mark.parametrize("fails", [True, False])
def test_a_slot_is_freed_when_the_answer_is_sent(fails):
    told = []

    async def send(message):
        told.append(message["type"])
        assert "released" not in told
        if fails:
            raise OSError("the client has gone")

    response = SlotResponse(Response(b"x"), lambda: told.append("released"))
    with pytest.raises(OSError) if fails else nullcontext():
        asyncio.run(response({"type": "http"}, None, send))
    assert told[-1] == "released"


@pytest.mark.parametrize("length", [0, 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE // 2])
def test_an_answer_is_sent_in_pieces(length):
    """Else all of it would be kept for a client that does not read, and its slot be free at once."""
    body, told = bytes(range(256)) * (length // 256) + bytes(length % 256), []

    async def send(message):
        told.append(message)

    asyncio.run(SlotResponse(Response(body), lambda: None)({"type": "http"}, None, send))
    start, *pieces = told
    assert start["type"] == "http.response.start" and dict(start["headers"])[b"content-length"] == b"%d" % length
    assert b"".join(piece["body"] for piece in pieces) == body
    assert all(len(piece["body"]) <= PIECE for piece in pieces)
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]


def test_a_key_is_asked_for(serve, photos):
    client = serve(key="secret")
    content = (photos / "good/03.png").read_bytes()
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "é".encode()}):
        assert client.post("/predict", content=content, headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
    for headers in ({"X-API-Key": "secret"}, {"Authorization": "Bearer secret"}):
        assert client.post("/predict", content=content, headers=headers).status_code == 200
        assert client.get("/metrics", headers=headers).status_code == 200
    assert client.get("/health").status_code == 200 and client.get("/").status_code == 200


def value_of(client, name):
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name + " ")]
    return float(lines[0].split()[-1]) if lines else 0.0


def test_requests_are_counted(client, photos):
    names = (
        'discrepancy_requests_total{status="200"}',
        'discrepancy_requests_total{status="415"}',
        'discrepancy_decisions_total{decision="anomalous"}',
        'discrepancy_decisions_total{decision="good"}',
        "discrepancy_request_seconds_count",
        "discrepancy_batch_size_sum",
    )
    before = [value_of(client, name) for name in names]
    for name in ("good/03.png", "bad/scratched/11.png", "bad/scratched/12.png"):
        client.post("/predict", content=(photos / name).read_bytes())
    client.post("/predict", content=b"x")
    assert [value_of(client, name) - old for name, old in zip(names, before, strict=True)] == [3, 1, 2, 1, 3, 3]
    assert value_of(client, "discrepancy_in_progress") == 0


def test_what_the_server_offers_is_described(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health", "/metrics"}
    predict = described["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    assert {"200", "400", "401", "408", "413", "415", "422", "503"} <= set(predict["responses"])
    assert client.get("/health").json()["method"] == "padim"
    documentation = client.get("/docs").text
    assert "http" not in documentation.replace("http-equiv", ""), "nothing is loaded from elsewhere"
    assert client.get("/docs/files/swagger-ui-bundle.js").status_code == 200


def test_the_page_loads_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in answer.text
