"""Files of a training and of its parts."""

from discrepancy.checkpoint_files import part_of, with_parts


def test_parts_lie_beside_the_whole_and_others_are_left_alone(tmp_path):
    folder = tmp_path / "odd [name]"
    folder.mkdir()
    whole = folder / "checkpoint.pt"
    parts = [part_of(whole, name) for name in ("dfc", "fold1")]
    assert [path.name for path in parts] == ["checkpoint.dfc.pt", "checkpoint.fold1.pt"]
    assert with_parts(whole) == []
    others = [folder / name for name in ("oracle_checkpoint.pt", "checkpoint.txt", "checkpoint2.pt")]
    for path in (*parts, *others):
        path.touch()
    assert with_parts(whole) == parts
    whole.touch()
    assert with_parts(whole) == sorted([whole, *parts])
    assert with_parts(parts[1]) == [parts[1]]
    part_of(parts[1], "dfc").touch()
    assert len(with_parts(parts[1])) == 2
