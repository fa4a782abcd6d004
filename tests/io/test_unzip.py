"""Zips are unpacked within limits, only into their folder."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from segscope.errors import ReadError
from segscope.io.unzip import (
    ArchiveTooLarge,
    TemporaryFolder,
    UnsafeArchive,
    UnzipLimits,
    unpack,
)

LIMITS = UnzipLimits(members=3, bytes=1000)


def write_zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_members_are_written_below_the_folder(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", ("x/1", b"one"), ("2", b"two"))
    unpack(archive, tmp_path / "out", LIMITS)
    assert (tmp_path / "out/x/1").read_bytes() == b"one"
    assert (tmp_path / "out/2").read_bytes() == b"two"


def test_a_member_that_declares_less_than_it_holds_is_cut_off(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", ("1", bytes(5000)))
    content = archive.read_bytes()
    declared = (5000).to_bytes(4, "little")
    archive.write_bytes(content.replace(declared, (10).to_bytes(4, "little")))
    with pytest.raises(ReadError):
        unpack(archive, tmp_path / "out", LIMITS)
    assert (tmp_path / "out/1").stat().st_size <= LIMITS.bytes


@pytest.mark.parametrize("count", [1, 4])
def test_limits_are_checked_before_anything_is_written(tmp_path: Path, count: int) -> None:
    members = [(str(number), bytes(600 * (5 - count))) for number in range(count)]
    with pytest.raises(ArchiveTooLarge):
        unpack(write_zip(tmp_path / "a.zip", *members), tmp_path / "out", LIMITS)
    assert not (tmp_path / "out").exists()


def test_members_stay_inside(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive):
        unpack(write_zip(tmp_path / "a.zip", ("../1", b"")), tmp_path / "out", LIMITS)


def test_a_temporary_folder_goes_with_its_last_reference() -> None:
    folder = TemporaryFolder()
    path = folder.path
    (path / "file").write_bytes(b"")
    copy = pickle.loads(pickle.dumps(folder))
    del copy
    assert path.exists()
    del folder
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_leaves_the_temporary_folder_in_place() -> None:
    script = """
import os
from segscope.io.unzip import TemporaryFolder
folder = TemporaryFolder()
path = folder.path
child = os.fork()
if not child:
    del folder
    os._exit(0)
os.waitpid(child, 0)
assert path.exists()
del folder
assert not path.exists()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
