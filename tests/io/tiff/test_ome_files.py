"""OME-TIFF over several files: every plane where its description says, or a refusal."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.ome_sets import describe, describe_image, describe_plane, point_to, write_pages
from support.tiff_files import TCZYX, whole

from segscope import io
from segscope.errors import ReadError, UsageError

TZCYX = TCZYX.transpose(0, 2, 1, 3, 4)
T, Z, C = TZCYX.shape[:3]


def write_file_per_time(folder: Path, description: str | None = None) -> list[Path]:
    """One file a time point, pages of it channel by channel (order XYZCT)."""
    planes = "".join(
        describe_plane(f"t{t}.ome.tif", c * Z + z, t, z, c)
        for t in range(T)
        for c in range(C)
        for z in range(Z)
    )
    text = description or describe(describe_image(0, TZCYX.shape, planes))
    files = []
    for t in range(T):
        pages = TZCYX[t].transpose(1, 0, 2, 3).reshape(-1, *TZCYX.shape[3:])
        files.append(write_pages(folder / f"t{t}.ome.tif", pages, text))
    return files


def check_whole(path: Path) -> None:
    for t in range(T):
        stack = io.read(path, volume=t)
        np.testing.assert_array_equal(whole(stack), TZCYX[t].transpose(0, 2, 3, 1))
        assert stack.geometry.spacing_zyx_mm == pytest.approx((2e-3, 2.5e-4, 5e-4))
        np.testing.assert_array_equal(whole(io.read(path, volume=t, channel=1)), TZCYX[t, :, 1])


def test_any_file_of_the_set_opens_the_whole(tmp_path: Path) -> None:
    for file in write_file_per_time(tmp_path):
        check_whole(file)


def test_tifffile_agrees(tmp_path: Path) -> None:
    first = write_file_per_time(tmp_path)[0]
    with tifffile.TiffFile(first) as file:
        expected = file.series[0].asarray()
        assert file.series[0].axes == "TCZYX"
    np.testing.assert_array_equal(expected.transpose(0, 2, 1, 3, 4), TZCYX)


def test_a_companion_describes_files_without_a_description(tmp_path: Path) -> None:
    files = write_file_per_time(tmp_path, point_to("set.companion.ome"))
    planes = "".join(
        describe_plane(f"t{t}.ome.tif", 0, t, 0, 0, count=str(Z * C)) for t in range(T)
    )
    companion = tmp_path / "set.companion.ome"
    companion.write_text(describe(describe_image(0, TZCYX.shape, planes)))
    check_whole(files[1])
    check_whole(companion)


def test_one_file_describes_the_others(tmp_path: Path) -> None:
    files = write_file_per_time(tmp_path)
    with tifffile.TiffFile(files[1]) as file:
        pages = [page.asarray() for page in file.pages]
    write_pages(files[1], np.stack(pages), point_to("t0.ome.tif"))
    check_whole(files[1])


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT", "XYTZC", "XYZTC", "XYCTZ", "XYTCZ"])
def test_planes_in_every_order(order: str, tmp_path: Path) -> None:
    axes = [{"T": 0, "Z": 1, "C": 2}[letter] for letter in reversed(order[2:])]
    pages = TZCYX.transpose(*axes, 3, 4).reshape(-1, *TZCYX.shape[3:])
    half = len(pages) // 2
    rank = np.unravel_index(half, [TZCYX.shape[axis] for axis in axes])
    first = dict(zip(reversed(order[2:]), map(int, rank), strict=True))
    planes = describe_plane("a.ome.tif", 0, 0, 0, 0, count=str(half))
    planes += describe_plane("b.ome.tif", 0, first["T"], first["Z"], first["C"], count=str(half))
    text = describe(describe_image(0, TZCYX.shape, planes, order=order))
    write_pages(tmp_path / "a.ome.tif", pages[:half], text)
    write_pages(tmp_path / "b.ome.tif", pages[half:], text)
    check_whole(tmp_path / "b.ome.tif")


def test_each_file_of_a_multi_position_set_is_its_position(tmp_path: Path) -> None:
    shape = (1, Z, 1, *TZCYX.shape[3:])
    images = ""
    for number in range(3):
        planes = describe_plane(f"p{number}.ome.tif", 0, 0, 0, 0, count=str(Z))
        images += describe_image(number, shape, planes)
    for number in range(3):
        write_pages(tmp_path / f"p{number}.ome.tif", TZCYX[number, :, 0], describe(images))
    for number in range(3):
        stack = io.read(tmp_path / f"p{number}.ome.tif")
        np.testing.assert_array_equal(whole(stack), TZCYX[number, :, 0])
        assert f"image {number + 1} of the 3" in stack.meta["notes"][0]
    other = io.read(tmp_path / "p0.ome.tif", series="3")
    np.testing.assert_array_equal(whole(other), TZCYX[2, :, 0])
    with pytest.raises(UsageError, match=r"no series '4'.*1: Pos0; 2: Pos1; 3: Pos2"):
        io.read(tmp_path / "p0.ome.tif", series="4")


def test_a_set_with_a_file_missing_is_refused(tmp_path: Path) -> None:
    files = write_file_per_time(tmp_path)
    files[2].unlink()
    with pytest.raises(ReadError, match=r"t2\.ome\.tif is not beside it; copy the whole set"):
        io.read(files[0])


def test_a_set_with_planes_missing_is_refused(tmp_path: Path) -> None:
    planes = describe_plane("a.ome.tif", 0, 0, 0, 0) + describe_plane("b.ome.tif", 0, 0, 1, 0)
    text = describe(describe_image(0, (1, 3, 1, 20, 30), planes))
    for name in ("a.ome.tif", "b.ome.tif"):
        write_pages(tmp_path / name, TZCYX[0, :1, 0], text)
    with pytest.raises(ReadError, match=r"places 2 of 3 planes.*stopped early"):
        io.read(tmp_path / "a.ome.tif")


def test_a_cut_file_of_the_set_is_refused(tmp_path: Path) -> None:
    files = write_file_per_time(tmp_path)
    with tifffile.TiffFile(files[1]) as file:
        text = str(file.pages[0].description)
    write_pages(files[1], TZCYX[1, :2, 0], text)
    stack = io.read(files[0], volume=1)
    with pytest.raises(ReadError, match="has 2 pages"):
        whole(stack)


def test_pages_of_another_size_are_refused(tmp_path: Path) -> None:
    files = write_file_per_time(tmp_path)
    with tifffile.TiffFile(files[1]) as file:
        text = str(file.pages[0].description)
    write_pages(files[1], np.zeros((Z * C, 10, 30), np.uint16), text)
    stack = io.read(files[0], volume=1)
    with pytest.raises(ReadError, match="the first page of the set is"):
        whole(stack)


@pytest.mark.parametrize("name", ["../secret.ome.tif", "/etc/passwd", "a\\b.tif", "sub/x.tif"])
def test_files_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "secret.ome.tif").write_bytes(b"II")
    planes = describe_plane(name, 0, 0, 0, 0) + describe_plane("a.ome.tif", 0, 0, 1, 0)
    text = describe(describe_image(0, (1, 2, 1, 20, 30), planes))
    path = write_pages(tmp_path / "sub" / "a.ome.tif", TZCYX[0, :1, 0], text)
    with pytest.raises(ReadError, match="expected the name of a file beside it"):
        io.read(path)


def test_a_forked_process_opens_the_files_itself(tmp_path: Path) -> None:
    stack = io.read(write_file_per_time(tmp_path)[0], volume=0, channel=0)
    stack[0]
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(whole(stack), TZCYX[0, :, 0]) else 1)
    np.testing.assert_array_equal(whole(stack), TZCYX[0, :, 0])
    assert os.waitpid(child, 0)[1] == 0


def test_no_file_of_the_set_may_be_replaced(tmp_path: Path) -> None:
    files = write_file_per_time(tmp_path)
    stack = io.read(files[0], volume=0, channel=0)
    for file in files:
        with pytest.raises(UsageError, match="would be overwritten"):
            io.check_output(file, stack)
