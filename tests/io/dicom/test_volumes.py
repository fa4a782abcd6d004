"""Several volumes at the same positions: attributes say which frame belongs to which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from support.dicom_files import along, save, whole, write_enhanced, write_series

from segscope import io
from segscope.errors import ReadError, UsageError

PLACES = along((0, 0, 2.0), 4)


def write_interleaved(
    path: Path, volumes: Sequence[dict[str, Any]], *, shuffled: bool = True
) -> Path:
    """An enhanced file with several volumes, whose order changes from slice to slice.

    Frame `slice * len(volumes) + k` holds the values of its number; see `volume_of`.

    Args:
        path: of the file.
        volumes: functional groups of each volume: its sequence and elements.
        shuffled: whether the order of the volumes changes.
    """
    count = len(volumes)
    order = [k if number % 2 == 0 or not shuffled else count - 1 - k
             for number in range(len(PLACES)) for k in range(count)]  # fmt: skip
    positions = [place for place in PLACES for _ in volumes]
    write_enhanced(path, positions)
    data = pydicom.dcmread(path)
    for group, number in zip(data.PerFrameFunctionalGroupsSequence, order, strict=True):
        for sequence, elements in volumes[number].items():
            item = Dataset()
            if sequence in group:
                item = group[sequence].value[0]
            for name, value in elements.items():
                setattr(item, name, value)
            setattr(group, sequence, [item])
    return save(data, path)


def frames_of(path: Path, volume: int) -> list[int]:
    """Numbers in the file of the frames of a volume."""
    return list(io.read(path, volume=volume).meta["dicom_frames"])


def frame_type(part: str) -> dict[str, Any]:
    return {"MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", part, "NONE"]}}


def dimension(index: int) -> dict[str, Any]:
    return {"FrameContentSequence": {"DimensionIndexValues": [1, index]}}


def diffusion(b_value: float, index: int) -> dict[str, Any]:
    return {"MRDiffusionSequence": {"DiffusionBValue": b_value}, **dimension(index)}


STACKS = [{"FrameContentSequence": {"StackID": name}} for name in "12"]
ECHOES = [{"MREchoSequence": {"EffectiveEchoTime": value}} for value in (10.0, 20.0)]
FLIPS = [{"MRTimingAndRelatedParametersSequence": {"FlipAngle": value}} for value in (5.0, 15.0)]
PARTS = [frame_type("M"), frame_type("P")]
DIRECTIONS = [diffusion(0.0, 1), diffusion(1000.0, 2), diffusion(1000.0, 3)]


@pytest.mark.parametrize(
    ("volumes", "name"),
    [
        (PARTS, "FrameType"),
        (STACKS, "StackID"),
        (ECHOES, "EchoTime"),
        (FLIPS, "FlipAngle"),
        ([dimension(1), dimension(2)], "DimensionIndexValues 2"),
        (DIRECTIONS, "DiffusionBValue and DimensionIndexValues 2"),
    ],
)
def test_frames_go_to_the_volume_of_their_attributes(
    tmp_path: Path, volumes: list[dict[str, Any]], name: str
) -> None:
    path = write_interleaved(tmp_path / "4d.dcm", volumes)
    count = len(volumes)
    for volume in range(count):
        wanted = [count * number + (volume if number % 2 == 0 else count - 1 - volume)
                  for number in range(len(PLACES))]  # fmt: skip
        assert frames_of(path, volume) == wanted
    with pytest.raises(UsageError, match=rf"they differ in {name}: "):
        io.read(path)


def test_the_listing_shows_the_values(tmp_path: Path) -> None:
    path = write_interleaved(tmp_path / "4d.dcm", DIRECTIONS)
    with pytest.raises(UsageError, match=r"0 1, 1000 2, 1000 3\)"):
        io.read(path)


def test_directions_of_diffusion_are_told_apart(tmp_path: Path) -> None:
    volumes = []
    for vector in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]):
        direction = Dataset()
        direction.DiffusionGradientOrientation = vector
        elements = {"DiffusionBValue": 800.0, "DiffusionGradientDirectionSequence": [direction]}
        volumes.append({"MRDiffusionSequence": elements})
    path = write_interleaved(tmp_path / "dwi.dcm", volumes)
    with pytest.raises(UsageError, match=r"DiffusionGradientOrientation: 0\.0000 1\.0000"):
        io.read(path)
    assert frames_of(path, 0) == [1, 2, 5, 6]


def test_the_order_in_the_file_alone_is_a_note(tmp_path: Path) -> None:
    path = write_interleaved(tmp_path / "4d.dcm", [{}, {}])
    with pytest.raises(UsageError, match="they differ in the order in the file only"):
        io.read(path)
    stack = io.read(path, volume=1)
    assert frames_of(path, 1) == [1, 3, 5, 7]
    assert any("only the order of the frames" in note for note in stack.meta["notes"])


def test_the_order_in_the_file_is_refused_if_attributes_contradict_it(tmp_path: Path) -> None:
    volumes = [frame_type("M"), frame_type("M"), frame_type("P"), frame_type("P")]
    path = write_interleaved(tmp_path / "4d.dcm", volumes)
    with pytest.raises(ReadError, match=r"FrameType.*another order at some positions"):
        io.read(path, volume=0)
    unmixed = write_interleaved(tmp_path / "unmixed.dcm", volumes, shuffled=False)
    assert frames_of(unmixed, 2) == [2, 6, 10, 14]


def test_numbers_of_files_do_not_mix_types(tmp_path: Path) -> None:
    """Magnitude and phase, written alternately."""
    positions = PLACES * 2
    each = []
    for index in range(8):
        part, number = divmod(index, 4)
        each.append(
            {"ImageType": ["ORIGINAL", "PRIMARY", "MP"[part]],
             "InstanceNumber": 2 * number + (part + number) % 2 + 1,
             "AcquisitionTime": f"1200{2 * number + (part + number) % 2:02d}"}
        )  # fmt: skip
    folder = write_series(tmp_path / "s", positions, each=each)
    assert whole(io.read(folder, volume=0))[:, 0, 0].tolist() == [0, 100, 200, 300]
    assert whole(io.read(folder, volume=1))[:, 0, 0].tolist() == [400, 500, 600, 700]
