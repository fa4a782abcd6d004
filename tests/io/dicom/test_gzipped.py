"""DICOM files in gzip."""

from __future__ import annotations

import gc
import gzip
from pathlib import Path

import numpy as np
import pytest
from support.dicom_files import along, whole, write_series
from support.dicom_masks import BOTH, labels, masks_of, series

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io.dicom import gzipped


@pytest.fixture
def slice_file(tmp_path: Path) -> Path:
    folder = write_series(tmp_path / "ct", along((0, 0, 2.0), 1))
    return next(file for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.mark.parametrize("name", ["a.dcm.gz", "a.gz", "A.DCM.GZ"])
def test_it_is_read_as_the_file_inside(name: str, slice_file: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(slice_file.read_bytes()))
    stack = io.read(path)
    expected = io.read(slice_file)
    assert stack.path == path
    np.testing.assert_array_equal(whole(stack), whole(expected))
    assert stack.geometry is not None
    assert expected.geometry is not None
    np.testing.assert_array_equal(stack.geometry.affine, expected.geometry.affine)


def test_the_file_lasts_as_long_as_its_frames(slice_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm.gz"
    path.write_bytes(gzip.compress(slice_file.read_bytes()))
    stack = io.read(path)
    unpacked = Path(stack.meta["dicom_files"][0])
    source = stack.source
    del stack
    gc.collect()
    assert source[0].size
    del source
    gc.collect()
    assert not unpacked.exists()


def test_a_damaged_one_is_refused_by_its_own_name(slice_file: Path, tmp_path: Path) -> None:
    packed = gzip.compress(slice_file.read_bytes())
    path = tmp_path / "a.dcm.gz"
    path.write_bytes(packed[:-9])
    with pytest.raises(ReadError, match=r"a\.dcm\.gz is cut off or damaged"):
        io.read(path)
    path.write_bytes(gzip.compress(slice_file.read_bytes()[:-300]))
    with pytest.raises(ReadError, match=r"a\.dcm\.gz") as refusal:
        _ = io.read(path)[0]
    assert "segscope-" not in str(refusal.value)


def test_a_bomb_is_refused(
    slice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gzipped, "MAX_BYTES", 2**20)
    path = tmp_path / "a.dcm.gz"
    path.write_bytes(gzip.compress(slice_file.read_bytes() + bytes(2**24)))
    with pytest.raises(ReadError, match="inflates to more than"):
        io.read(path)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zst", "a.gz", "a.7z"])
def test_other_archives_say_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(UsageError, match="unpack it"):
        io.read(tmp_path / name)


@BOTH
def test_masks_are_read_as_the_file_inside(tmp_path: Path, suffix: str) -> None:
    stack = series(tmp_path / "ct")
    plain = tmp_path / f"masks{suffix}"
    io.write(masks_of(stack), plain, stack)
    path = tmp_path / f"masks{suffix}.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert io.needs_scan(path)
    masks = io.read_masks(path, stack)
    np.testing.assert_array_equal(masks.labels, labels())
    assert masks.names == {4: "Liver", 9: "needle"}


def test_an_image_is_refused_as_masks_by_its_own_name(slice_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm.gz"
    path.write_bytes(gzip.compress(slice_file.read_bytes()))
    with pytest.raises(UsageError, match=r"a\.dcm\.gz is DICOM but neither") as refusal:
        io.read_masks(path)
    assert "segscope-" not in str(refusal.value)
