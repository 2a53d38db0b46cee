"""Archives that are not trusted."""

import io
import os
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from discrepancy.download import archives, members
from discrepancy.download.archives import safe_target, unpack
from discrepancy.errors import InputError

FORMATS = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.xz": "w:xz", "a.zip": "zip"}
CONTENT = {"disc/train/good/000.png": b"abc" * 500, "disc/readme.txt": b"", "disc/über.txt": b"x"}
MIB = 1 << 20


def tar_of(path, *entries, mode="w"):
    """Entries: (name, content) or a TarInfo that has no content."""
    with tarfile.open(path, mode) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size, info.mode = len(entry[1]), 0o7777
                tar.addfile(info, io.BytesIO(entry[1]))
    return path


def zip_of(path, *entries, mode=0):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor tidies it up
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(path, *said, limit=MIB):
    """Unpacking fails, says so, and has written nothing beside its folder."""
    inside = path.parent / f"from {path.name}"
    before = set(path.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        unpack(path, inside / "deep/new", limit=limit)
    for words in said:
        assert words in str(caught.value)
    assert {entry for entry in path.parent.rglob("*") if entry != inside and inside not in entry.parents} == before
    assert not any(entry.is_symlink() for entry in path.parent.rglob("*"))
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_unpacks_to_the_same_files(tmp_path, name):
    if name == "a.zip":
        path = zip_of(tmp_path / name, ("disc/", b""), *CONTENT.items(), mode=0o4777)
    else:
        folder = special("./disc", tarfile.DIRTYPE)
        path = tar_of(tmp_path / name, folder, *CONTENT.items(), mode=FORMATS[name])
    assert unpack(path, tmp_path / "new", limit=MIB) == sum(map(len, CONTENT.values()))
    found = {
        file.relative_to(tmp_path / "new").as_posix(): file.read_bytes()
        for file in (tmp_path / "new").rglob("*")
        if file.is_file()
    }
    assert found == CONTENT
    for file in (tmp_path / "new").rglob("*.png"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o7133 == 0  # nothing to execute, no special bits


HOSTILE_NAMES = {
    "/etc/evil": "an absolute path",
    "../evil": "",
    "a/../../evil": "",
    "a/../b": "'..'",
    "..\\evil": "Windows",
    "C:/evil": "Windows",
    "C:evil": "Windows",
    "a\nb": "control character",
    "\\\\server\\share": "Windows",
}


@pytest.mark.parametrize(("name", "said"), HOSTILE_NAMES.items())
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_are_refused(tmp_path, kind, name, said):
    pack = tar_of if kind == "tar" else zip_of
    refused(pack(tmp_path / "a", ("good.txt", b"1"), (name, b"evil")), repr(name), said)
    assert not os.path.exists("/etc/evil")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (special("out", tarfile.SYMTYPE, "/etc/passwd"), "out"),
        (special("out", tarfile.SYMTYPE, "../../../../etc"), "out"),
        (special("a/out", tarfile.SYMTYPE, "../../x"), "out"),
        (special("out", tarfile.LNKTYPE, "/etc/passwd"), "out"),
        (special("out", tarfile.LNKTYPE, "../a"), "out"),
        (special("dangling", tarfile.SYMTYPE, "nothing"), "no file before it"),
        (special("to_folder", tarfile.SYMTYPE, "folder"), "no file before it"),
        (special("itself", tarfile.SYMTYPE, "itself"), "no file before it"),
        (special("pipe", tarfile.FIFOTYPE), "a device or pipe"),
        (special("disk", tarfile.BLKTYPE), "a device or pipe"),
        (special("tty", tarfile.CHRTYPE), "a device or pipe"),
        (special("good.txt/below", tarfile.DIRTYPE), "below the file"),
    ],
)
def test_links_that_lead_out_and_devices_are_refused(tmp_path, entry, said):
    folder = special("folder", tarfile.DIRTYPE)
    refused(tar_of(tmp_path / "a.tar", ("good.txt", b"1"), folder, entry), repr(entry.name), said)


@pytest.mark.parametrize("link", ["/etc/passwd", "//etc", "..", "../x", "a/../../x", "a/../../a/x", "a\\b"])
def test_links_are_refused_by_their_names_too(link):
    with pytest.raises(InputError, match="leads out of its folder") as caught:
        safe_target("name", link)
    assert "'name'" in str(caught.value) and repr(link) in str(caught.value)


def test_links_are_resolved_by_their_names():
    assert [safe_target("n", link).as_posix() for link in ("a/../b", "./a//b", "a")] == ["b", "a/b", "a"]


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    link = special("link", tarfile.SYMTYPE, str(tmp_path / "outside"))
    refused(tar_of(tmp_path / "a.tar", link, ("link/evil", b"1")), "'link'")
    inner = special("inner", tarfile.SYMTYPE, "good.txt")
    refused(tar_of(tmp_path / "b.tar", ("good.txt", b"1"), inner, ("inner/evil", b"1")), "'inner/evil'", "below")


def test_links_to_earlier_files_inside_become_copies(tmp_path):
    soft, hard = special("b/soft", tarfile.SYMTYPE, "../a/one"), special("b/hard", tarfile.LNKTYPE, "a/one")
    path = tar_of(tmp_path / "a.tar.xz", ("a/one", b"1" * 600), soft, hard, ("b/two", b"2"), mode="w:xz")
    assert unpack(path, tmp_path / "new", limit=MIB) == 1801
    for name in ("soft", "hard"):
        file = tmp_path / "new/b" / name
        assert file.read_bytes() == b"1" * 600 and not file.is_symlink() and file.stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path, kind):
    pack = tar_of if kind == "tar" else zip_of
    refused(pack(tmp_path / "a", ("a/one", b"1"), ("a/./one", b"2")), "'a/./one'", "second time")
    refused(pack(tmp_path / "b", ("a/one", b"1"), ("a", b"2")), "'a'", "second time")
    refused(pack(tmp_path / "c", ("a", b"1"), ("a/one", b"2")), "'a/one'", "below the file 'a'")


@pytest.mark.parametrize(
    ("mode", "said"),
    [(stat.S_IFLNK | 0o777, "symbolic link"), (stat.S_IFIFO, "device or pipe"), (stat.S_IFBLK, "device or pipe")],
)
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode, said):
    refused(zip_of(tmp_path / "a.zip", ("odd", b"/etc/passwd"), mode=mode), "'odd'", said)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", ("secret", b"abc"))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the local header,
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(data)
    refused(path, "'secret'", "encrypted")


def test_a_zero_byte_in_a_zip_name_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", ("good.txtX.png", b"abc"))
    path.write_bytes(path.read_bytes().replace(b"good.txtX.png", b"good.txt\x00.png"))
    refused(path, "control character")


@pytest.mark.parametrize("name", FORMATS)
def test_a_bomb_is_stopped_while_it_unpacks(tmp_path, name):
    bomb = ("bomb", bytes(8 * MIB))
    path = tmp_path / name
    path = zip_of(path, bomb) if name == "a.zip" else tar_of(path, bomb, mode=FORMATS[name])
    refused(path, "more than 1,048,576 bytes")
    assert sum(file.stat().st_size for file in (tmp_path / f"from {path.name}").rglob("*") if file.is_file()) <= MIB


def test_a_zip_that_lies_about_sizes_is_counted_as_it_unpacks(tmp_path):
    path = zip_of(tmp_path / "a.zip", ("bomb", bytes(8 * MIB)))
    path.write_bytes(path.read_bytes().replace((8 * MIB).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(path)
    assert sum(file.stat().st_size for file in (tmp_path / f"from {path.name}").rglob("*") if file.is_file()) <= MIB


def test_a_bomb_of_headers_and_one_of_names_are_stopped(tmp_path, monkeypatch):
    header = special("long", b"x")
    header.size = 64 * MIB
    path = tmp_path / "a.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.addfile(header, io.BytesIO(bytes(64 * MIB)))
    refused(path, "a header of")
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    refused(tar_of(tmp_path / "b.tar", *((f"{i}", b"") for i in range(11))), "more than 10 members")


def test_a_bomb_in_what_is_skipped_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "_SLACK", MIB)
    folder = special("folder", tarfile.DIRTYPE)
    folder.size = 8 * MIB
    path = tmp_path / "a.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.addfile(folder, io.BytesIO(bytes(8 * MIB)))
        tar.addfile(tarfile.TarInfo("b"))
    refused(path)


def test_a_sparse_file_is_refused(tmp_path):
    info = tarfile.TarInfo("holes")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": "9",
    }
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    refused(tmp_path / "a.tar", "sparse")


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_archives_are_refused_wherever_they_end(tmp_path, name):
    noise = np.random.default_rng(0)
    files = [(f"disc/{i}.bin", noise.bytes(1000)) for i in range(4)]
    path = tmp_path / name
    path = zip_of(path, *files) if name == "a.zip" else tar_of(path, *files, mode=FORMATS[name])
    data = path.read_bytes()
    ends = [1536 * i for i in range(1, 5)] if name == "a.tar" else []  # just between two members
    for end in [*ends, 0, 3, 100, len(data) // 2, len(data) * 9 // 10]:
        if name == "a.tar" and end > 4 * 1536 + 512:
            continue  # the rest is padding
        (tmp_path / "cut").mkdir()
        (tmp_path / "cut/short").write_bytes(data[:end])
        refused(tmp_path / "cut/short", "damaged")
        for entry in sorted((tmp_path / "cut").rglob("*"), reverse=True):
            entry.rmdir() if entry.is_dir() else entry.unlink()
        (tmp_path / "cut").rmdir()


@pytest.mark.parametrize("compresses", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_archives_are_refused(tmp_path, name, compresses):
    noise = np.random.default_rng(0)
    files = [(f"disc/{i}.bin", noise.bytes(1000).hex().encode() if compresses else noise.bytes(1000)) for i in range(4)]
    path = tmp_path / name
    path = zip_of(path, *files) if name == "a.zip" else tar_of(path, *files, mode=FORMATS[name])
    data = bytearray(path.read_bytes())
    second = 512 + (2048 if compresses else 1024)  # a header; a plain tar cannot tell damaged contents
    where = second if name == "a.tar" else len(data) // 2
    data[where : where + 20] = bytes(20)
    path.write_bytes(data)
    refused(path, "damaged")


def test_a_wrong_sum_at_the_very_end_is_noticed(tmp_path):
    path = tar_of(tmp_path / "a.tar.gz", ("disc/one", b"1" * 999), mode="w:gz")
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(8))
    refused(path, "damaged", "CRC")


def test_another_file_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>not found</html>" * 99)
    refused(tmp_path / "a.zip", "neither tar nor zip")
