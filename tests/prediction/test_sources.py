"""The photographs that are meant, in whatever form they are given."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from discrepancy.errors import InputError
from discrepancy.prediction.sources import common_folder, files_in, photographs

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def write(path, pixels=GREY):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "in/deep/c.tiff", "out/d.png", "__MACOSX/e.png"):
        write(tmp_path / name)
    (tmp_path / "empty.png").mkdir()
    (tmp_path / "full.png").mkdir()
    write(tmp_path / "full.png/f.bmp")
    (tmp_path / "readme.txt").write_text("none")
    (tmp_path / ".g.png").write_bytes(b"")
    return tmp_path


def names(folder, found):
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_means_all_photographs_below_it(folder):
    expected = ["a.JPG", "b.png", "empty.png", "full.png/f.bmp", "in/deep/c.tiff", "out/d.png"]
    assert names(folder, files_in(folder)) == expected
    assert names(folder, files_in(folder, without=folder / "out")) == expected[:-1]


def test_a_file_and_patterns(folder, monkeypatch):
    assert files_in(folder / "readme.txt") == [folder / "readme.txt"]  # asked for by name: reading it says what it is
    assert names(folder, files_in(f"{folder}/*.png")) == ["b.png"]
    assert names(folder, files_in(f"{folder}/**/*.[bt]*")) == ["full.png/f.bmp", "in/deep/c.tiff"]
    monkeypatch.setenv("HOME", str(folder))
    assert files_in("~/b.png") == [folder / "b.png"]


def test_a_name_with_brackets_is_a_file_first(tmp_path):
    path = write(tmp_path / "a[1].png")
    assert files_in(path) == [path] and files_in(tmp_path / "a[1].png") == [path]
    assert common_folder(path) == tmp_path


@pytest.mark.parametrize(("place", "said"), [("nowhere", "there is nothing"), ("*.gif", "no photograph is there")])
def test_nothing_is_said_with_the_place(tmp_path, place, said):
    with pytest.raises(InputError, match=said) as error:
        files_in(tmp_path / place)
    assert place in str(error.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photograph is there"):
        files_in(tmp_path)


def test_names_are_relative_to_the_folder_that_was_given(folder):
    assert common_folder(folder) == folder
    assert common_folder(folder / "b.png") == folder
    assert common_folder(f"{folder}/in/**/*.png") == folder / "in"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "I;16", "LA"])
def test_pil_images_read_as_their_files_do(tmp_path, mode):
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (9, 8), np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    image.save(path)
    (given,), (of_file,) = photographs(image), photographs(path)
    assert np.array_equal(np.asarray(given.read(None)), np.asarray(of_file.read(None)))


def test_a_pil_image_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        (given,) = photographs(image)
        assert given.read(None).size == (3, 4) and given.name.endswith("a.jpg")


def test_one_or_many_arrays_bytes_and_paths_together(tmp_path):
    path = write(tmp_path / "a.png")
    colour = np.stack([GREY] * 3, -1)
    given = [path, str(path), path.read_bytes(), colour, np.stack([colour, colour]), Image.fromarray(GREY)]
    found = list(photographs(given))
    assert len(found) == 7
    assert all(np.array_equal(np.asarray(one.read(None).convert("L")), GREY) for one in found)
    assert found[0].name == found[1].name == path.as_posix()
    assert [one.name for one in found[2:]] == ["0", "1", "2", "3", "4"], "each a name of its own: pictures have it"
    assert [one.name for one in photographs(np.stack([colour, colour]))] == ["0", "1"]


def test_a_generator_is_read_one_by_one():
    seen = []

    def camera():
        for number in range(3):
            seen.append(number)
            yield GREY

    stream = photographs(camera())
    next(stream)
    assert seen == [0]


@pytest.mark.parametrize(
    "given",
    [GREY.astype(np.float32), np.zeros((3, 4, 4), np.uint8), np.zeros((2, 3, 8, 8), np.uint8), 5, [object()]],
)
def test_other_things_are_refused(given):
    with pytest.raises(InputError, match=r"images: .* given; expected"):
        list(photographs(given))


def test_16_bits_are_read_as_the_detector_was_trained(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(path)
    (photograph,) = photographs(Path(path))
    assert np.asarray(photograph.read(12)).max() == 255 and np.asarray(photograph.read(None)).max() == 16


def test_a_pattern_leaves_out_the_results_too(folder):
    """What a prediction has written below the photographs matches the pattern at the next call."""
    everything = files_in(f"{folder}/**/*.png")
    assert "out/d.png" in names(folder, everything)
    expected = [name for name in names(folder, everything) if not name.startswith("out/")]
    assert names(folder, files_in(f"{folder}/**/*.png", without=folder / "out")) == expected
