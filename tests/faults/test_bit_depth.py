"""Cameras of 10, 12 and 14 bits: what is white in their files, decided once for all photographs of a part."""

import io
import logging
import struct
import zlib
from unittest import mock

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from discrepancy import fit_detector
from discrepancy.data.high_bit_depth import read_deep, read_deep_file
from discrepancy.data.images import ResizeCrop
from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import open_photographs, report_on_photographs
from discrepancy.data.reading import read_header, read_mask, read_photograph
from discrepancy.errors import InputError
from discrepancy.pipelines.ingestion.nodes import decode_images, split_samples

RNG = np.random.default_rng(0)
SIDE = 8


def tiff(path, values, bits, *, white_is_zero=False, order="<", orientation=1, highest=None, length=None):
    """One strip of grey [h, w] or colour [h, w, 3], packed where it is not 16 bits; written by hand."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    if bits == 16:
        data = values.astype(f"{order}u2").tobytes()
    else:
        rows = ["".join(f"{int(v):0{bits}b}" for v in row.ravel()) for row in values]
        data = b"".join(
            int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows
        )
    place = 8 + len(data) + len(data) % 2
    tags = {256: width, 257: height, 259: 1, 262: 0 if white_is_zero else 2 if channels == 3 else 1, 273: 8}
    tags |= {274: orientation, 277: channels, 278: height, 279: length or len(data)} | (
        {281: highest} if highest else {}
    )
    entries = [(tag, 4, 1, struct.pack(f"{order}I", value)) for tag, value in tags.items()]
    after = place + 2 + 12 * (len(entries) + 1) + 4
    if channels == 1:
        entries.append((258, 3, 1, struct.pack(f"{order}HH", bits, 0)))
    else:
        entries.append((258, 3, 3, struct.pack(f"{order}I", after)))
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in sorted(entries))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, place)
    body = struct.pack(f"{order}H", len(entries)) + body + bytes(4) + struct.pack(f"{order}HHH", *[bits] * 3)
    path.write_bytes(head + data + bytes(len(data) % 2) + body)


def png(path, values, *, significant=None):
    """A PNG file of 16 bits, whose sBIT chunk says how many are significant."""
    cv2.imwrite(str(path), (values[..., ::-1] if values.ndim == 3 else values).astype(np.uint16))
    if significant:
        data = path.read_bytes()
        chunk = b"sBIT" + bytes([significant] * (3 if values.ndim == 3 else 1))
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(data[:33] + chunk + data[33:])


def seen(path, **how):
    return np.asarray(read_photograph(path, **how))


def expected(values, bits):
    """Black 0, white 2^bits - 1, to the nearest of 256 levels."""
    return np.floor(values / (2**bits - 1) * 255 + 0.5).astype(np.uint8)


def draw(bits, shape=(SIDE, SIDE)):
    values = RNG.integers(0, 2**bits, shape)
    values.flat[0] = 2**bits - 1
    return values


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
def test_packed_tiff_is_white_at_its_own_highest_value(tmp_path, order, bits, shape):
    values = draw(bits, shape)
    tiff(tmp_path / "a.tif", values, bits, order=order)
    np.testing.assert_array_equal(seen(tmp_path / "a.tif"), expected(values, bits))
    assert read_header(tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes()).size == (6, 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 8, 10, 12, 16])
def test_tiff_with_white_for_zero_is_seen_so(tmp_path, order, bits):
    values = draw(bits)
    tiff(tmp_path / "a.tif", values, bits, white_is_zero=True, order=order)
    np.testing.assert_array_equal(seen(tmp_path / "a.tif"), 255 - expected(values, bits))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), values != 2**bits - 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_packed_tiff_is_turned_upright(tmp_path, orientation):
    """As Pillow turns the same picture of 8 bits."""
    levels = RNG.integers(0, 256, (8, 6))
    tiff(tmp_path / "8.tif", levels, 8, orientation=orientation)
    tiff(tmp_path / "12.tif", levels * 4095 // 255, 12, orientation=orientation)
    upright = seen(tmp_path / "8.tif")
    assert np.abs(seen(tmp_path / "12.tif").astype(int) - upright).max() <= 1
    assert read_header(tmp_path / "12.tif", (tmp_path / "12.tif").read_bytes()).size == upright.shape[::-1]


@pytest.mark.parametrize("cut", [1, 60, 130])
def test_packed_tiff_that_is_cut_off_is_refused(tmp_path, cut):
    tiff(tmp_path / "a.tif", draw(12), 12)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:8] + data[8 + cut :])
    with pytest.raises(InputError, match=r"a\.tif"):
        read_photograph(tmp_path / "a.tif")


@pytest.mark.parametrize("length", [40, 10_000])
def test_packed_tiff_whose_strip_is_short_or_leads_out_of_the_file_is_refused(tmp_path, length):
    """OpenCV would give what is missing as black."""
    tiff(tmp_path / "a.tif", draw(12), 12, length=length)
    with pytest.raises(InputError, match=r"a\.tif cannot be decoded \(damaged or cut off\)"):
        read_photograph(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_file_that_says_how_many_of_16_bits_it_uses_is_believed(tmp_path, bits, shape):
    values = draw(bits, shape)
    png(tmp_path / "a.png", values, significant=bits)
    tiff(tmp_path / "a.tif", values, 16, highest=2**bits - 1)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(seen(tmp_path / name), expected(values, bits))


def test_significant_bits_that_were_moved_up_fill_all_16(tmp_path):
    """PNG's specification wants samples scaled up; sBIT then only says that the low bits are void."""
    values = draw(12) * 16
    png(tmp_path / "a.png", values, significant=12)
    np.testing.assert_array_equal(seen(tmp_path / "a.png"), expected(values, 16))


def test_the_highest_value_of_one_picture_is_no_depth(tmp_path):
    """TIFF's tag may hold what the writer found in the picture: that must not stretch it."""
    values = draw(12)
    tiff(tmp_path / "a.tif", values, 16, highest=3000)
    np.testing.assert_array_equal(seen(tmp_path / "a.tif"), expected(values, 16))


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3), (8, 6, 4)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_depth_that_is_given_counts(tmp_path, shape, suffix):
    values = draw(12, shape)
    if len(shape) == 3:
        values[..., 3:] = 4095  # opaque
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), values.astype(np.uint16))
    colours = values[..., 2::-1] if len(shape) == 3 else values
    np.testing.assert_array_equal(seen(tmp_path / f"a.{suffix}", bits=12), expected(colours, 12))


def test_values_above_the_given_depth_are_refused_not_cut(tmp_path):
    png(tmp_path / "a.png", draw(12))
    with pytest.raises(InputError, match=r"a\.png holds values up to 4095: expected at most 1023.*bit_depth"):
        read_photograph(tmp_path / "a.png", bits=10)


def test_photographs_of_8_bits_know_no_depth(tmp_path):
    levels = RNG.integers(0, 256, (8, 6), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(seen(tmp_path / "a.png", bits=12), levels)


def photographs(root, write, *, train=4, test=2):
    for folder, count in (("train/good", train), ("test/good", test)):
        (root / "gear" / folder).mkdir(parents=True)
        for index in range(count):
            write(root / "gear" / folder / f"{index}.png", RNG.integers(300, 900, (SIDE, SIDE)))
    return open_photographs("folder", "gear", root)


def decoded(found, caplog, **parameters):
    """The array, its fingerprint and what was warned of."""
    parameters = IngestionParameters(dataset="folder", category="gear", image_size=SIDE, **parameters)
    caplog.clear()
    array = decode_images(found, split_samples(found, parameters), parameters)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return array.to_numpy(), array.fingerprint, warned


@pytest.mark.parametrize(("bits", "factor"), [(10, 1), (12, 4), (14, 16)])
def test_a_run_says_that_values_use_fewer_bits_and_what_to_do(tmp_path, caplog, bits, factor):
    found = photographs(tmp_path, lambda path, values: png(path, values * factor))
    dark, one, warned = decoded(found, caplog)
    assert len(warned) == 1 and f"above {2**bits - 1}," in warned[0] and f"expected bit_depth={bits}" in warned[0]
    right, other, quiet = decoded(found, caplog, bit_depth=bits)
    assert not quiet and one != other
    assert right.max() > 200 and dark.max() <= 256 >> (16 - bits)
    assert not decoded(found, caplog, bit_depth=16)[2]


def test_inspection_gives_the_same_warning(tmp_path):
    photographs(tmp_path, lambda path, values: png(path, values * 4))
    table = report_on_photographs("folder", "gear", tmp_path, ResizeCrop((SIDE, SIDE))).problems
    assert "expected bit_depth=12" in table.set_index("problem").loc["12 bits in 16", "detail"]
    table = report_on_photographs("folder", "gear", tmp_path, ResizeCrop((SIDE, SIDE)), bits=12)
    assert "12 bits in 16" not in set(table.problems["problem"])
    assert table.files["mean"].min() > 60


def test_real_16_bit_photographs_are_as_ever(tmp_path, caplog):
    found = photographs(tmp_path, lambda path, values: png(path, values * 64))
    array, _, warned = decoded(found, caplog)
    assert not warned
    levels = cv2.imread(str(tmp_path / "gear/test/good/0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(array[4, 0], np.rint(levels / 257))


def test_what_the_training_photographs_say_holds_for_all(tmp_path, caplog):
    """The test photographs say nothing, and must not be seen darker for it."""

    def write(path, values):
        png(path, values * 4, significant=12 if "train" in path.parts else None)

    array, _, warned = decoded(photographs(tmp_path, write), caplog)
    assert not warned
    levels = cv2.imread(str(tmp_path / "gear/test/good/0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(array[4, 0], expected(levels, 12))


def test_one_photograph_that_says_nothing_keeps_all_alike(tmp_path, caplog):
    def write(path, values):
        png(path, values * 4, significant=None if path.match("train/good/0.png") else 12)

    array, _, warned = decoded(photographs(tmp_path, write), caplog)
    assert len(warned) == 1 and array.max() <= 14


def test_the_card_says_which_depth_was_given():
    def of(**more):
        return IngestionParameters(category="gear", **more).preprocessing

    assert of(bit_depth=12) == {**of(), "bit_depth": 12}


def test_a_depth_that_no_camera_has_is_refused():
    with pytest.raises(InputError, match="bit_depth"):
        IngestionParameters.model_validate({"category": "gear", "bit_depth": 40})


@pytest.mark.parametrize(
    ("of_training", "of_new"), [(12, None), (None, 12)], ids=["all but the new one say 12", "only the new one says so"]
)
def test_a_detector_sees_a_new_photograph_as_its_training_would_have(tmp_path, of_training, of_new):
    """What is white was decided for all photographs of the part; a later one does not decide it anew."""
    good = tmp_path / "good"
    good.mkdir()
    levels = RNG.integers(0, 4096, (12, 64, 64))
    for index, values in enumerate(levels):
        png(good / f"{index}.png", values, significant=of_training)
    options = {"channels": 4, "augmentation": "none", "device": "cpu"}
    detector = fit_detector(good, method="padim", image_size=64, **options)
    png(tmp_path / "new.png", levels[0], significant=of_new)
    seen_new, seen_trained = (detector.predict(path)[0].score for path in (tmp_path / "new.png", good / "0.png"))
    assert seen_new == pytest.approx(seen_trained, rel=1e-5)
    assert detector.card.preprocessing["bit_depth"] == (of_training or 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colour_of_fewer_bits_in_16_is_turned_upright(tmp_path, orientation):
    """As Pillow turns the same picture of 8 bits; so are marks of defects."""
    levels = RNG.integers(0, 256, (8, 6, 3))
    tiff(tmp_path / "8.tif", levels, 8, orientation=orientation)
    tiff(tmp_path / "12.tif", levels * 4095 // 255, 16, orientation=orientation, highest=4095)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "8.tif")))
    np.testing.assert_array_equal(seen(tmp_path / "12.tif"), expected)
    marks = np.zeros((8, 6, 3), int)
    marks[1:3, 2:6] = 255
    tiff(tmp_path / "8.tif", marks, 8, orientation=orientation)
    tiff(tmp_path / "16.tif", marks, 16, orientation=orientation)
    np.testing.assert_array_equal(read_mask(tmp_path / "16.tif"), read_mask(tmp_path / "8.tif"))
    assert read_mask(tmp_path / "16.tif").sum() == 8


def test_a_colour_mask_of_16_bits_marks_where_any_value_is_above_0(tmp_path):
    marks = np.zeros((8, 6, 4), np.uint16)
    marks[1:3, 2:6], marks[2, :, 3] = 1, 0
    cv2.imwrite(str(tmp_path / "colour.png"), marks[..., :3])
    cv2.imwrite(str(tmp_path / "transparent.png"), marks)
    assert read_mask(tmp_path / "colour.png").sum() == 8
    assert read_mask(tmp_path / "transparent.png").sum() == 4


def test_photographs_of_8_bits_leave_the_depth_open(tmp_path):
    found = photographs(tmp_path, lambda path, values: cv2.imwrite(str(path), (values // 4).astype(np.uint8)))
    parameters = IngestionParameters(dataset="folder", category="gear", image_size=SIDE)
    samples = split_samples(found, parameters)
    assert set(samples["bit_depth"]) == {0}
    assert parameters.preprocessing_of(samples) == parameters.preprocessing


@pytest.mark.parametrize("kind", ["png", "tif", "deep.png", "deep.tif"])
def test_what_a_file_declares_is_read_from_a_few_bytes(tmp_path, kind):
    """Of thousands of photographs on a file server, each is fetched whole once, to hash it, and not for this."""
    path, values = tmp_path / f"a.{kind}", draw(12, (256, 256))
    if kind == "deep.png":
        png(path, values, significant=12)
    elif kind == "deep.tif":
        tiff(path, values, 16, highest=4095)
    else:
        Image.fromarray((values // 16).astype(np.uint8)).save(path)
    taken = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            found = super().read(size)
            taken.append(len(found))
            return found

    with mock.patch.object(type(path), "open", lambda self, mode: Counting(self, "rb")):
        found = read_deep_file(path)
    assert found == read_deep(path.read_bytes())
    assert (found is not None and found.said == 12) == kind.startswith("deep")
    assert sum(taken) < 1000 < path.stat().st_size
