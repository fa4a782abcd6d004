"""Archives are unpacked within their limits, and only into their folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from segscope.errors import ReadError
from segscope.serve.errors import Refused, TooLarge
from segscope.serve.project.safe_unzip import unpack
from segscope.serve.settings import Limits

LIMITS = Limits(unpacked_bytes=1000, zip_members=3)


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path / "a.zip", "w", zipfile.ZIP_DEFLATED) as zip_file:
        for name, data in members:
            zip_file.writestr(name, data)
    return path / "a.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    return folder


def test_files_keep_their_folders_and_harmless_names(tmp_path: Path, folder: Path) -> None:
    unpack(archive(tmp_path, ("a/b.dcm", b"1"), ("a/c?.dcm", b"2")), folder, LIMITS)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    assert files == ["a/b.dcm", "a/c_.dcm"]


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "C:\\a", "..\\a"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(Refused, match="leads out"):
        unpack(archive(tmp_path, (name, b"1")), folder, LIMITS)
    assert list(folder.iterdir()) == []


def test_links_are_refused(tmp_path: Path, folder: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with pytest.raises(Refused):
        unpack(archive(tmp_path, (link, b"/etc/passwd")), folder, LIMITS)


def test_more_than_the_limits_is_refused(tmp_path: Path, folder: Path) -> None:
    many = [(f"{number}.png", b"1") for number in range(4)]
    with pytest.raises(TooLarge, match="4 files"):
        unpack(archive(tmp_path, *many), folder, LIMITS)
    with pytest.raises(TooLarge, match="1000 bytes"):
        unpack(archive(tmp_path, ("a", bytes(600)), ("b", bytes(600))), folder, LIMITS)


def test_damaged_archives(tmp_path: Path, folder: Path) -> None:
    path = archive(tmp_path, ("a.png", bytes(range(200))))
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(ReadError, match="cannot be unpacked"):
        unpack(path, folder, LIMITS)
