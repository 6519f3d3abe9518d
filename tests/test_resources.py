from __future__ import annotations

from pathlib import Path

import pytest

from bisenet_edge.errors import SinkError
from bisenet_edge.resources import (
    SHIPPED_CHECKPOINT,
    data_folder,
    replace_when_written,
    shipped_checkpoint,
    shipped_checkpoints,
    shipped_or,
)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "deep" / "file.txt"
    with replace_when_written(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["file.txt"]


def test_a_file_and_a_folder_are_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    with replace_when_written(tmp_path / "file") as temporary:
        temporary.write_text("new")
    with replace_when_written(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
        assert names(tmp_path / "folder") == ["old"]
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path / "folder") == ["new"]
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_an_error_leaves_the_old_and_nothing_else(tmp_path, kind):
    target = tmp_path / "kept"
    target.write_text("old")

    def fail():
        with replace_when_written(target) as temporary:
            if kind == "file":
                temporary.write_text("half")
            elif kind == "folder":
                temporary.mkdir()
                (temporary / "half").touch()
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert names(tmp_path) == ["kept"]
    assert target.read_text() == "old"


def test_an_error_leaves_no_folder_that_was_made_for_it(tmp_path):
    with pytest.raises(RuntimeError, match="early"), replace_when_written(tmp_path / "new" / "file"):
        raise RuntimeError("early")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_found_out_before_the_work(tmp_path):
    # A file where a folder should be: cannot be written by root either, as tests in containers are.
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "out"
    with pytest.raises(SinkError, match="cannot write here") as caught, replace_when_written(target):
        pytest.fail("the work was begun")
    assert str(target) in caught.value.got


def test_shipped_files_are_found():
    assert shipped_checkpoint().is_file()
    assert list(data_folder("calibration").glob("*.toml"))
    assert list((data_folder("deploy") / "boards").glob("*.toml"))
    assert list(data_folder("docker").glob("Dockerfile.*"))


def test_a_shipped_checkpoint_has_a_name_which_a_file_of_the_user_hides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert SHIPPED_CHECKPOINT.removesuffix(".safetensors") in shipped_checkpoints()
    for name in shipped_checkpoints():
        assert shipped_or(Path(name)).is_file()
    name = Path(shipped_checkpoints()[0])
    assert shipped_or(Path("elsewhere") / name) == Path("elsewhere") / name
    assert shipped_or(Path("other")) == Path("other")
    name.touch()
    assert shipped_or(name) == name


def test_a_folder_where_a_file_should_stand_and_the_reverse(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("old")
    with pytest.raises(SinkError, match="another kind") as caught, replace_when_written(folder) as new:
        new.write_text("new")
    assert (caught.value.got, caught.value.expected) == (f"{folder}: a folder", "a file")
    with pytest.raises(SinkError, match="another kind") as caught, replace_when_written(file) as new:
        new.mkdir()
    assert (caught.value.got, caught.value.expected) == (f"{file}: a file", "a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert file.read_text() == "old"
