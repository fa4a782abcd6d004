"""Videos inside DICOM files, decoded as the bare videos are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from support.dicom_files import along, header, save, whole, write_series
from support.video_files import SIZE_HW, make, number_in

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks

COUNT = 15
VIDEO_ENDOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "MPEG-2": ("1.2.840.10008.1.2.4.100", "mpeg2video", {"form": "mpeg", "b_frames": 2}),
    "H.264 in MP4": ("1.2.840.10008.1.2.4.102", "libx264", {"form": "mp4", "b_frames": 2}),
    "H.264 in TS": ("1.2.840.10008.1.2.4.103", "libx264", {"form": "mpegts", "b_frames": 2}),
    "bare H.264": ("1.2.840.10008.1.2.4.102", "libx264", {"form": "h264"}),
    "HEVC": (
        "1.2.840.10008.1.2.4.107",
        "libx265",
        {"form": "mp4", "options": {"x265-params": "log-level=none"}},
    ),
}


def write_video(path: Path, kind: str = "H.264 in MP4", parts: int = 1, **tags: Any) -> Path:
    syntax, codec, options = KINDS[kind]
    stream = make(path.with_suffix(".stream"), codec, count=COUNT, **options)
    content = stream.read_bytes()
    stream.unlink()
    settings = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_PARTIAL_420",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "NumberOfFrames": COUNT,
        "FrameTime": 40.0,
    }
    data = header(VIDEO_ENDOSCOPY, "ES", **settings | tags)
    data.Rows, data.Columns = SIZE_HW
    data.file_meta.TransferSyntaxUID = syntax
    size = len(content) // parts // 2 * 2
    cuts = [*range(0, size * parts, size)]
    fragments = [content[cut : cut + size] for cut in cuts[:-1]] + [content[cuts[-1] :]]
    data.PixelData = encapsulate(fragments, has_bot=False)
    data["PixelData"].is_undefined_length = True
    return save(data, path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 3])
def test_frames_are_those_of_the_video(tmp_path: Path, kind: str, parts: int) -> None:
    stack = io.read(write_video(tmp_path / "v.dcm", kind, parts))
    assert stack.kind == "video"
    assert stack.modality == "ES"
    assert stack.source.shape == (COUNT, *SIZE_HW, 3)
    assert [number_in(stack[index]) for index in range(COUNT)] == list(range(COUNT))
    assert stack.times_s == pytest.approx(np.arange(COUNT) * 0.04)


def test_colours_are_those_of_the_bare_video(tmp_path: Path) -> None:
    bare = make(tmp_path / "v.mp4", "libx264", count=COUNT, b_frames=2)
    stack = io.read(write_video(tmp_path / "v.dcm"))
    assert np.array_equal(whole(stack), whole(io.read(bare)))


def test_a_number_of_frames_that_is_wrong_is_a_note(tmp_path: Path) -> None:
    stack = io.read(write_video(tmp_path / "v.dcm", NumberOfFrames=COUNT + 4))
    assert len(stack) == COUNT
    assert any(f"declares {COUNT + 4} frames" in note for note in stack.meta["notes"])
    assert len(stack.meta["dicom_files"]) == COUNT


def test_another_size_than_declared_has_no_millimetres(tmp_path: Path) -> None:
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.02
    tags = {"SequenceOfUltrasoundRegions": [region]}
    stack = io.read(write_video(tmp_path / "v.dcm", **tags))
    assert stack.spacing_zyx_mm == pytest.approx((1.0, 0.2, 0.2))
    path = write_video(tmp_path / "w.dcm", **tags)
    _declare_columns(path, 90)
    stack = io.read(path)
    assert stack.geometry is None
    assert any("declares 48 x 90 pixels" in note for note in stack.meta["notes"])


def _declare_columns(path: Path, columns: int) -> None:
    content = path.read_bytes()
    element = b"\x28\0\x11\0US\2\0"
    assert content.count(element) == 1
    old = element + SIZE_HW[1].to_bytes(2, "little")
    path.write_bytes(content.replace(old, element + columns.to_bytes(2, "little")))


def test_a_stream_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.dcm")
    content = path.read_bytes()
    start = content.index(b"ftyp") - 4
    path.write_bytes(content[:start] + bytes(len(content) - start - 8) + content[-8:])
    with pytest.raises(ReadError, match=r"v\.dcm"):
        io.read(path)


def test_a_video_in_a_study_is_a_part_of_its_own(tmp_path: Path) -> None:
    write_series(tmp_path / "s", along((0, 0, 2.0), 3))
    write_video(tmp_path / "s/v.dcm", SeriesInstanceUID="1.2.3.8", SeriesNumber=4)
    with pytest.raises(UsageError, match=r"2: series 4, ES, 15 frames of 48 x 100, file v\.dcm"):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s", series="2").kind == "video"
    assert io.read(tmp_path / "s", series="1").kind == "volume"


def test_masks_refer_to_the_frames(tmp_path: Path) -> None:
    stack = io.read(write_video(tmp_path / "v.dcm"))
    labels = np.zeros(stack.shape_zyx, np.uint8)
    labels[3:5, 4:9, 5:30] = 1
    masks = Masks.from_labels(labels, geometry=stack.geometry, times_s=stack.times_s)
    io.write(masks, tmp_path / "seg.dcm", stack)
    assert np.array_equal(io.read_masks(tmp_path / "seg.dcm", stack).labels, labels)
