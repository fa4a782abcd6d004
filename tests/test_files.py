"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segscope.errors import UsageError, WriteError
from segscope.files import atomic, list_visible, reason_of


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path) -> None:
    path.write_text("half")
    raise KeyError


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with atomic(path) as part:
        assert part.name == path.name, "writers look at the suffix"
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert left_over(tmp_path) == ["a.nii.gz"]


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyError), atomic(path) as part:
        write_half(part)
    assert path.read_text() == "old"
    assert left_over(tmp_path) == ["a"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "masks"
    for names in (["1", "2"], ["3"]):
        with atomic(path, folder=True) as part:
            for name in names:
                (part / name).touch()
    assert left_over(path) == ["3"]
    assert left_over(tmp_path) == ["masks"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt])
def test_a_folder_that_is_not_replaced_comes_back(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "masks"
    path.mkdir()
    (path / "old").touch()

    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises((WriteError, KeyboardInterrupt)), atomic(path, folder=True):
        pass
    assert left_over(path) == ["old"]
    assert left_over(tmp_path) == ["masks"]


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", Path(os.devnull)):
        with pytest.raises(UsageError, match="is a pipe or a device"), atomic(path):
            pass
    assert (tmp_path / "pipe.json").is_fifo()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"), atomic(tmp_path / "nowhere/a"):
        pass
    with pytest.raises(UsageError, match="is a folder"), atomic(tmp_path):
        pass


def test_the_reason_of_the_file_system_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"No space left on device$"), atomic(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert reason_of(OSError("first\nsecond")) == "first"
    wrapped = OSError("With tag (5200,9230) got exception: [Errno 28] No space left on device\nat")
    assert reason_of(wrapped) == "No space left on device"


def test_visible_entries_are_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", ".hidden", "a.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_visible(tmp_path)] == ["a.txt", "b.txt"]
