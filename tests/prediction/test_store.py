"""A folder of predictions that is filled bit by bit."""

import pytest

from discrepancy.errors import InputError
from discrepancy.prediction.store import JOURNAL, Entry, PredictionStore, stamp_of

ASKED = {"detector": "abc", "maps": False}


def entry(name, stamp=(3, 4), **line):
    return Entry(name, stamp, {"file": name, **line}, "M0,0L1,1Z", (4, 3))


def test_what_was_added_is_there_at_the_next_opening(tmp_path):
    entries = [entry("a.png", score=1.5), entry("b\u2028\n'\".png"), entry("\udcff.png")]
    with (store := PredictionStore(tmp_path / "s")).opened(ASKED):
        for one in entries:
            store.add(one)
    with (again := PredictionStore(tmp_path / "s")).opened(ASKED):
        assert [again.find(one.file, one.stamp) for one in entries] == entries
        assert again.find("c.png", (3, 4)) is None and again.find("a.png", (3, 5)) is None


def test_a_torn_line_is_lost_alone(tmp_path):
    with (store := PredictionStore(tmp_path)).opened(ASKED):
        store.add(entry("a.png"))
        store.add(entry("b.png"))
    journal = tmp_path / JOURNAL
    for length in range(len(journal.read_bytes()) - 1, len(journal.read_bytes()) - 60, -7):
        journal.write_bytes(journal.read_bytes()[:length])
    with (again := PredictionStore(tmp_path)).opened(ASKED):
        assert again.find("a.png", (3, 4)) and not again.find("b.png", (3, 4))
        again.add(entry("c.png"))
    with (again := PredictionStore(tmp_path)).opened(ASKED):
        assert again.find("a.png", (3, 4)) and again.find("c.png", (3, 4))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]\n", b"{}\n{}\n"])
def test_a_damaged_journal_begins_anew(tmp_path, content):
    (tmp_path / JOURNAL).write_bytes(content)
    with (store := PredictionStore(tmp_path)).opened(ASKED):
        store.add(entry("a.png"))
        assert store.find("a.png", (3, 4))


def test_for_another_purpose_all_begins_anew(tmp_path):
    with (store := PredictionStore(tmp_path)).opened(ASKED):
        store.add(entry("a.png"))
    (tmp_path / "overlays").mkdir()
    (tmp_path / "mine.txt").write_text("kept")
    with (store := PredictionStore(tmp_path)).opened({**ASKED, "detector": "other"}):
        assert store.find("a.png", (3, 4)) is None
    assert not (tmp_path / "overlays").exists() and (tmp_path / "mine.txt").exists()


def test_two_at_once_are_refused(tmp_path):
    with (
        PredictionStore(tmp_path).opened(ASKED),
        pytest.raises(InputError, match="another prediction writes there"),
        PredictionStore(tmp_path).opened(ASKED),
    ):
        pass


def test_the_stamp_changes_with_the_file(tmp_path):
    path = tmp_path / "a.png"
    assert stamp_of(path) == (0, 0)
    path.write_bytes(b"abc")
    first = stamp_of(path)
    path.write_bytes(b"abd")
    assert first[0] == 3 and stamp_of(path) != first


@pytest.mark.parametrize("kind", ["overlays", "maps", "masks", "thumbnails"])
def test_pictures_that_no_prediction_wrote_are_left_alone(tmp_path, kind):
    """A folder of photographs may have masks of its own: the marks of defects, which nobody can paint again."""
    (tmp_path / kind / "scratch").mkdir(parents=True)
    mine = tmp_path / kind / "scratch/001.png"
    mine.write_bytes(b"mine")
    opening = PredictionStore(tmp_path).opened(ASKED)
    with pytest.raises(InputError, match=f"{kind} holds files that no prediction wrote.*another folder"), opening:
        pass
    assert mine.read_bytes() == b"mine" and not (tmp_path / JOURNAL).exists()
    mine.unlink()
    mine.parent.rmdir()
    with PredictionStore(tmp_path).opened(ASKED):
        pass
