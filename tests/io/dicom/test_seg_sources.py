"""DICOM SEG on scans of every kind: written, valid, and in the right place for two readers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from support.dicom_checks import validate
from support.dicom_files import (
    AXIAL,
    MR,
    SPACING,
    along,
    header,
    oblique,
    save,
    set_pixels,
    write_enhanced,
    write_series,
)

from segscope import io
from segscope.errors import UsageError
from segscope.masks import Masks
from segscope.stack import Stack

SIZE = (6, 9)
COUNT = 6
STEP = (0.0, 0.0, 2.5)
PRIVATE_CLASS = "1.3.46.670589.11.0.0.12.1"  # of a manufacturer


def labels(count: int = COUNT) -> np.ndarray:
    found = np.zeros((count, *SIZE), np.uint8)
    found[1:4, 1:5, 1:6] = 1
    found[2, 2:4, 3] = 0
    found[0, 0, 8] = found[count - 1, 5, 0] = 2
    return found


@dataclass
class Scan:
    """A scan and where its frames lie.

    Attributes:
        positions: LPS millimetres of the first pixel of each frame, or None.
        orientation: of the frames.
    """

    stack: Stack
    positions: Sequence[Sequence[float]] | None = None
    orientation: Sequence[float] = AXIAL
    files: list[Path] = field(default_factory=list)


def _edit(path: Path, change: Callable[[Dataset], None]) -> None:
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)


def groups_in_each_frame(folder: Path) -> Scan:
    """Siemens XA, Philips: pixel measures and orientation per frame, none shared."""
    positions = along(STEP, COUNT)
    path = write_enhanced(folder / "xa.dcm", positions)

    def move(data: Dataset) -> None:
        shared = data.SharedFunctionalGroupsSequence[0]
        for group in data.PerFrameFunctionalGroupsSequence:
            for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
                setattr(group, name, copy.deepcopy(shared[name].value))
        del shared.PixelMeasuresSequence
        del shared.PlaneOrientationSequence

    _edit(path, move)
    return Scan(io.read(path), positions)


def no_frame_of_reference(folder: Path) -> Scan:
    """Anonymised: the frame of reference is gone, the positions are not."""
    positions = along(STEP, COUNT)
    write_series(folder / "ct", positions)
    for path in (folder / "ct").iterdir():
        _edit(path, lambda data: data.pop("FrameOfReferenceUID"))
    return Scan(io.read(folder / "ct"), positions)


def cine(folder: Path) -> Scan:
    """Heart: one place over time."""
    positions = along((0, 0, 0), COUNT)
    each = [{"TriggerTime": 40.0 * number} for number in range(COUNT)]
    write_series(folder / "cine", positions, oblique(), each=each, SOPClassUID=MR, Modality="MR")
    return Scan(io.read(folder / "cine"), positions, oblique())


def time_point(folder: Path) -> Scan:
    """Canon: an enhanced file with two time points, of which one is segmented."""
    positions = along(STEP, COUNT)
    index = [1 + number // COUNT for number in range(2 * COUNT)]
    path = write_enhanced(folder / "4d.dcm", positions * 2, TemporalPositionIndex=index)
    return Scan(io.read(path, volume=1), positions)


def rounded_orientation(folder: Path) -> Scan:
    """GE: the orientation differs in the last digit from slice to slice."""
    positions = along(STEP, COUNT)
    turned = [1.0, 0.0, 0.0, 0.0, 0.999999995, 0.0001]
    each = [{"ImageOrientationPatient": turned} if number % 2 else {} for number in range(COUNT)]
    write_series(folder / "ge", positions, each=each)
    return Scan(io.read(folder / "ge"), positions)


def private_class(folder: Path) -> Scan:
    """A class of objects that no dictionary has."""
    positions = along(STEP, COUNT)
    write_series(folder / "private", positions, SOPClassUID=PRIVATE_CLASS)
    return Scan(io.read(folder / "private"), positions)


def no_positions(folder: Path) -> Scan:
    """An enhanced file whose frames have no plane positions."""
    path = write_enhanced(folder / "knee.dcm", along(STEP, COUNT))

    def remove(data: Dataset) -> None:
        for group in data.PerFrameFunctionalGroupsSequence:
            del group.PlanePositionSequence

    _edit(path, remove)
    return Scan(io.read(path))


def stills(folder: Path) -> Scan:
    """Ultrasound: several images of one series, without places."""
    for number in range(COUNT):
        image = header(
            "1.2.840.10008.5.1.4.1.1.6.1",
            "US",
            InstanceNumber=number + 1,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
        )
        del image.FrameOfReferenceUID
        save(set_pixels(image, np.zeros(SIZE, np.uint8)), folder / "us" / f"{number}.dcm")
    return Scan(io.read(folder / "us"))


def radiograph(folder: Path) -> Scan:
    """One image with a pixel size and neither thickness nor place."""
    image = header("1.2.840.10008.5.1.4.1.1.1", "CR", PixelSpacing=list(SPACING))
    path = save(set_pixels(image, np.zeros(SIZE, np.int16)), folder / "cr.dcm")
    return Scan(io.read(path))


def several_files(folder: Path) -> Scan:
    """A volume over two multi-frame files."""
    positions = along(STEP, COUNT)
    write_enhanced(folder / "parts" / "a.dcm", positions[:3])
    write_enhanced(folder / "parts" / "b.dcm", positions[3:])
    return Scan(io.read(folder / "parts"), positions)


SCANS = [
    groups_in_each_frame,
    no_frame_of_reference,
    cine,
    time_point,
    rounded_orientation,
    private_class,
    no_positions,
    stills,
    radiograph,
    several_files,
]


@pytest.fixture(params=SCANS, ids=[make.__name__ for make in SCANS])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Scan:
    made: Scan = request.param(tmp_path / "scan")
    return made


def write(scan: Scan, path: Path) -> Masks:
    masks = Masks.from_labels(
        labels()[: len(scan.stack)],
        geometry=scan.stack.geometry,
        times_s=scan.stack.times_s,
        names={1: "a", 2: "b"},
    )
    io.check_output(path, scan.stack)
    io.write(masks, path, scan.stack)
    return masks


def group_of(data: Dataset, index: int, name: str) -> Any:
    """A functional group by pydicom alone."""
    frame = data.PerFrameFunctionalGroupsSequence[index]
    return frame.get(name, data.SharedFunctionalGroupsSequence[0].get(name))[0]


def places_by_header(data: Dataset, segment: int) -> list[list[float]]:
    """LPS millimetres of all pixels of a segment, by the equation of PS3.3 C.7.6.2.1.1."""
    pixels = data.pixel_array.reshape(-1, *SIZE)
    places: list[list[float]] = []
    for index in range(len(pixels)):
        number = group_of(data, index, "SegmentIdentificationSequence").ReferencedSegmentNumber
        if number != segment:
            continue
        origin = group_of(data, index, "PlanePositionSequence").ImagePositionPatient
        axes = group_of(data, index, "PlaneOrientationSequence").ImageOrientationPatient
        spacing = group_of(data, index, "PixelMeasuresSequence").PixelSpacing
        for row, column in np.argwhere(pixels[index]):
            place = np.array(origin, float)
            place += np.array(axes[:3], float) * spacing[1] * column
            place += np.array(axes[3:], float) * spacing[0] * row
            places.append(place.tolist())
    return sorted(places)


def places_by_scan(scan: Scan, object_id: int) -> list[list[float]]:
    places: list[list[float]] = []
    assert scan.positions is not None
    along_row, along_column = np.array(scan.orientation).reshape(2, 3)
    for frame, row, column in np.argwhere(labels() == object_id):
        place = np.array(scan.positions[frame])
        place = place + along_row * SPACING[1] * column + along_column * SPACING[0] * row
        places.append(place.tolist())
    return sorted(places)


class TestEveryScan:
    def test_masks_come_back(self, scan: Scan, tmp_path: Path) -> None:
        masks = write(scan, tmp_path / "seg.dcm")
        back = io.read_masks(tmp_path / "seg.dcm", scan.stack)
        assert np.array_equal(back.labels, masks.labels)
        assert back.names == {1: "a", 2: "b"}

    def test_the_standard_is_kept(self, scan: Scan, tmp_path: Path) -> None:
        write(scan, tmp_path / "seg.dcm")
        validate(tmp_path / "seg.dcm")

    def test_every_pixel_lies_where_the_scan_has_it(self, scan: Scan, tmp_path: Path) -> None:
        write(scan, tmp_path / "seg.dcm")
        data = pydicom.dcmread(tmp_path / "seg.dcm")
        if scan.positions is None:
            assert "FrameOfReferenceUID" not in data
            return
        for number in (1, 2):
            np.testing.assert_allclose(
                places_by_header(data, number), places_by_scan(scan, number), atol=0.001
            )

    def test_frames_refer_to_their_images(self, scan: Scan, tmp_path: Path) -> None:
        masks = write(scan, tmp_path / "seg.dcm")
        data = pydicom.dcmread(tmp_path / "seg.dcm")
        meta = scan.stack.meta
        sources = zip(meta["dicom_uids"], meta["dicom_frames"], strict=True)
        frame_of = {source: frame for frame, source in enumerate(sources)}
        pixels = data.pixel_array.reshape(-1, *SIZE)
        for index, mask in enumerate(pixels):
            segment = group_of(data, index, "SegmentIdentificationSequence")
            derivation = group_of(data, index, "DerivationImageSequence")
            source = derivation.SourceImageSequence[0]
            number = int(source.get("ReferencedFrameNumber", 1)) - 1
            frame = frame_of[source.ReferencedSOPInstanceUID, number]
            assert np.array_equal(mask > 0, masks.mask(frame, segment.ReferencedSegmentNumber))

    @pytest.mark.filterwarnings("ignore")
    def test_highdicom_reads_it(self, scan: Scan, tmp_path: Path) -> None:
        highdicom = pytest.importorskip("highdicom")
        write(scan, tmp_path / "seg.dcm")
        seg = highdicom.seg.segread(tmp_path / "seg.dcm")
        assert seg.number_of_segments == 2
        geometry = scan.stack.geometry
        if geometry is None or not geometry.has_place or geometry.shares_place:
            return
        for number in (1, 2):
            volume = seg.get_volume(segment_numbers=[number])
            index = np.argwhere(volume.array[..., 0] > 0)
            places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
            found = sorted(places.round(4).tolist())
            np.testing.assert_allclose(found, places_by_scan(scan, number), atol=0.01)

    def test_contours_are_written_or_refused_with_what_works(
        self, scan: Scan, tmp_path: Path
    ) -> None:
        path = tmp_path / "out.rtstruct.dcm"
        geometry = scan.stack.geometry
        has_slices = geometry is not None and geometry.has_place and not geometry.shares_place
        if has_slices and scan.stack.meta["frame_of_reference"]:
            io.check_output(path, scan.stack)
            io.write(Masks.from_labels(labels(), geometry=geometry), path, scan.stack)
            assert np.array_equal(io.read_masks(path, scan.stack).labels, labels())
            return
        with pytest.raises(UsageError, match=r"write a DICOM SEG \(\.dcm\) instead"):
            io.check_output(path, scan.stack)

    def test_a_single_object(self, scan: Scan, tmp_path: Path) -> None:
        only = (labels()[: len(scan.stack)] == 2).astype(np.uint8)
        masks = Masks.from_labels(only, geometry=scan.stack.geometry)
        io.write(masks, tmp_path / "one.dcm", scan.stack)
        back = io.read_masks(tmp_path / "one.dcm", scan.stack)
        assert np.array_equal(back.labels, masks.labels)
        validate(tmp_path / "one.dcm")


class TestFramesOfReference:
    def test_masks_of_one_series_share_the_one_that_was_made(self, tmp_path: Path) -> None:
        scan = no_frame_of_reference(tmp_path)
        write(scan, tmp_path / "a.dcm")
        write(scan, tmp_path / "b.dcm")
        first, second = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
        assert first.FrameOfReferenceUID == second.FrameOfReferenceUID


class TestTimePoints:
    def test_masks_of_a_cine_need_its_scan(self, tmp_path: Path) -> None:
        write(cine(tmp_path), tmp_path / "seg.dcm")
        with pytest.raises(UsageError, match=r"several time points\. Give the whole cine"):
            io.read_masks(tmp_path / "seg.dcm")

    def test_frames_of_a_cine_that_share_a_uid_are_refused(self, tmp_path: Path) -> None:
        scan = cine(tmp_path)
        for file in (tmp_path / "cine").iterdir():
            _edit(file, lambda data: setattr(data, "SOPInstanceUID", "1.2.3.4"))
        stack = io.read(tmp_path / "cine")
        assert len(stack) == len(scan.stack)
        with pytest.raises(UsageError, match=r"several frames.*have the same.*seg\.nrrd"):
            write(Scan(stack, scan.positions, scan.orientation), tmp_path / "seg.dcm")

    def test_masks_of_several_time_points_need_the_scan_of_one(self, tmp_path: Path) -> None:
        path = tmp_path / "seg.dcm"
        write(time_point(tmp_path), path)
        data = pydicom.dcmread(path)
        groups = data.PerFrameFunctionalGroupsSequence
        others = copy.deepcopy(list(groups))
        for group in others:
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = 1
        data.PerFrameFunctionalGroupsSequence = [*groups, *others]
        data.NumberOfFrames = len(groups) * 2
        data.PixelData *= 2
        data.save_as(path)
        with pytest.raises(UsageError, match="Give the scan of one of them"):
            io.read_masks(path)

    def test_masks_of_another_time_point_are_refused_or_left_out(self, tmp_path: Path) -> None:
        scan = time_point(tmp_path)
        write(scan, tmp_path / "seg.dcm")
        other = io.read(tmp_path / "4d.dcm", volume=0)
        assert np.array_equal(io.read_masks(tmp_path / "seg.dcm", other).labels, labels()), (
            "masks of one time point lie on the other one as well"
        )
