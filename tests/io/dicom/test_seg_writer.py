"""Masks as DICOM SEG and RTSTRUCT: the voxels, names and references come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.data import data_folder
from support.dicom_checks import validate
from support.dicom_files import (
    AXIAL,
    COLUMNS,
    ROWS,
    along,
    oblique,
    write_clip,
    write_enhanced,
    write_series,
)
from support.dicom_masks import BOTH, COUNT, labels, masks_of, places_of, series

from segscope import io
from segscope.errors import UsageError, WriteError
from segscope.masks import Masks
from segscope.overlay import colour_of


class TestBothFormats:
    @BOTH
    @pytest.mark.parametrize("orientation", [AXIAL, oblique(), (0, 1, 0, 0, 0, -1)])
    def test_a_round_trip_gives_the_same_voxels(
        self, tmp_path: Path, suffix: str, orientation: tuple[float, ...]
    ) -> None:
        stack = series(tmp_path / "ct", orientation)
        masks = masks_of(stack)
        io.write(masks, tmp_path / f"out{suffix}", stack)
        found = io.read_masks(tmp_path / f"out{suffix}", stack)
        assert np.array_equal(found.labels, labels())
        assert found.names == {4: "Liver", 9: "needle"}
        for object_id in (4, 9):
            np.testing.assert_allclose(
                places_of(found, object_id), places_of(masks, object_id), atol=1e-3
            )

    @BOTH
    def test_a_slice_of_the_scan_is_never_overwritten(self, tmp_path: Path, suffix: str) -> None:
        stack = series(tmp_path / "ct")
        old = Path(stack.meta["dicom_files"][3])
        part = old.rename(old.with_name(f"slice{suffix}"))
        stack, before = io.read(tmp_path / "ct"), part.read_bytes()
        with pytest.raises(UsageError, match="a part of it"):
            io.write(masks_of(stack), part, stack)
        assert part.read_bytes() == before

    @BOTH
    def test_a_full_disk_is_one_line(
        self, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = series(tmp_path / "ct")

        def full(*_: object, **__: object) -> None:  # as pydicom tells it
            raise OSError(
                "With tag (7fe0,0010) got exception: [Errno 28] No space left\n"
                "Traceback (most recent ...)"
            )

        monkeypatch.setattr(pydicom.Dataset, "save_as", full)
        with pytest.raises(WriteError, match=r"No space left$"):
            io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        assert [path.name for path in tmp_path.iterdir()] == ["ct"]

    @BOTH
    def test_a_tilted_gantry_comes_back_in_its_place(self, tmp_path: Path, suffix: str) -> None:
        stack = io.read(write_series(tmp_path / "ct", along((0.0, 0.9, 2.5), COUNT)))
        io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        assert np.array_equal(io.read_masks(tmp_path / f"out{suffix}", stack).labels, labels())

    @BOTH
    def test_a_multi_frame_source_in_stored_disorder(self, tmp_path: Path, suffix: str) -> None:
        positions = along((0, 0, 2.5), COUNT)
        stack = io.read(
            write_enhanced(
                tmp_path / "ct.dcm", [positions[number] for number in (4, 0, 5, 2, 1, 3)]
            )
        )
        io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        assert np.array_equal(io.read_masks(tmp_path / f"out{suffix}", stack).labels, labels())
        validate(tmp_path / f"out{suffix}")

    @BOTH
    def test_the_standard_is_kept(self, tmp_path: Path, suffix: str) -> None:
        stack = series(tmp_path / "ct")
        io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        validate(tmp_path / f"out{suffix}")

    @BOTH
    def test_real_scans_with_their_flaws_give_valid_files(
        self, tmp_path: Path, suffix: str
    ) -> None:
        for name in ("dicom_ct_liver/ct", "dicom_ct_pet_mr_rtstruct/MR_T1"):
            stack = io.read(data_folder(name))
            found = np.zeros(stack.shape_zyx, np.uint16)
            found[1:3, 20:31, 25:40] = 2
            io.write(
                Masks.from_labels(found, geometry=stack.geometry), tmp_path / f"out{suffix}", stack
            )
            assert np.array_equal(io.read_masks(tmp_path / f"out{suffix}", stack).labels, found)
            validate(tmp_path / f"out{suffix}")

    @BOTH
    def test_masks_of_another_axis_are_put_back_on_the_slices(
        self, tmp_path: Path, suffix: str
    ) -> None:
        stack = series(tmp_path / "ct")
        turned = stack.along(2)
        part = Masks.from_labels(np.moveaxis(labels() > 0, 2, 0).astype(np.uint8))
        masks = Masks(turned.shape_zyx, part.runs, {1: "one"}, geometry=turned.geometry, axis=2)
        io.write(masks, tmp_path / f"out{suffix}", turned)
        assert np.array_equal(
            io.read_masks(tmp_path / f"out{suffix}", stack).labels > 0, labels() > 0
        )

    @BOTH
    def test_names_in_other_scripts_and_patients_in_other_alphabets(
        self, tmp_path: Path, suffix: str
    ) -> None:
        stack = series(
            tmp_path / "ct", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg"
        )
        names = {4: "Überlänge\\Łukasz 肝臓\n" + "x" * 80, 9: ""}
        io.write(masks_of(stack, names), tmp_path / f"out{suffix}", stack)
        found = io.read_masks(tmp_path / f"out{suffix}", stack).names
        assert found[4].startswith("Überlänge Łukasz 肝臓 x")
        assert len(found[4]) == 64
        assert found[9] == ""
        assert str(pydicom.dcmread(tmp_path / f"out{suffix}").PatientName) == "Müller^Jörg"

    @BOTH
    def test_an_object_that_is_empty_everywhere_is_kept(self, tmp_path: Path, suffix: str) -> None:
        stack = series(tmp_path / "ct")
        io.write(masks_of(stack, {4: "a", 9: "b", 12: "nowhere"}), tmp_path / f"out{suffix}", stack)
        found = io.read_masks(tmp_path / f"out{suffix}", stack)
        assert found.names[12] == "nowhere"
        assert not found.of(12).any()
        nothing = Masks(stack.shape_zyx, {}, {3: "none"}, geometry=stack.geometry)
        io.write(nothing, tmp_path / f"empty{suffix}", stack)
        assert not io.read_masks(tmp_path / f"empty{suffix}", stack).labels.any()
        validate(tmp_path / f"empty{suffix}")

    @BOTH
    def test_overlapping_objects_stay_whole(self, tmp_path: Path, suffix: str) -> None:
        stack = series(tmp_path / "ct")
        one, two = masks_of(stack), Masks.from_labels((labels() > 0).astype(np.uint8) * 2)
        masks = Masks(
            stack.shape_zyx,
            {**one.runs, **two.runs},
            {2: "all", 4: "a", 9: "b"},
            geometry=stack.geometry,
        )
        io.write(masks, tmp_path / f"out{suffix}", stack)
        found = io.read_masks(tmp_path / f"out{suffix}", stack)
        for object_id in (2, 4, 9):
            assert np.array_equal(found.of(object_id), masks.of(object_id))


class TestSeg:
    def test_highdicom_reads_it_in_the_same_place(self, tmp_path: Path) -> None:
        import highdicom

        stack = series(tmp_path / "ct")
        io.write(masks_of(stack), tmp_path / "out.dcm", stack)
        volume = highdicom.seg.segread(tmp_path / "out.dcm").get_volume(segment_numbers=[1])
        places = np.argwhere(volume.array[..., 0] > 0)
        world = places @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        wanted = places_of(masks_of(stack), 4) * (-1, -1, 1)
        np.testing.assert_allclose(np.sort(world, axis=0), np.sort(wanted, axis=0), atol=1e-3)

    def test_codes_names_and_references(self, tmp_path: Path) -> None:
        stack = series(tmp_path / "ct")
        masks = Masks.from_labels(
            labels(),
            names={4: "Liver tumour", 9: "needle"},
            geometry=stack.geometry,
            record={"model": "sam2.1-tiny"},
        )
        io.write(masks, tmp_path / "out.dcm", stack)
        data = pydicom.dcmread(tmp_path / "out.dcm")
        first = data.SegmentSequence[0]
        assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
        assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"
        assert (
            first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName
            == "segscope sam2.1-tiny"
        )
        uids = {
            item.ReferencedSOPInstanceUID
            for item in data.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        }
        assert uids == set(stack.meta["dicom_uids"][1:])
        assert data.StudyInstanceUID == "1.2.3.1"
        assert data.FrameOfReferenceUID == "1.2.3.3"

    def test_colours_and_codes_that_were_chosen(self, tmp_path: Path) -> None:
        from highdicom.color import CIELabColor

        stack = series(tmp_path / "ct")
        code = {"scheme": "SCT", "value": "52988006", "meaning": "Lesion"}
        masks = replace(masks_of(stack), about={4: {"colour": "#3060c0", "code": code}})
        for suffix in (".dcm", ".rtstruct.dcm"):
            io.write(masks, tmp_path / f"out{suffix}", stack)
            validate(tmp_path / f"out{suffix}")
        liver, needle = pydicom.dcmread(tmp_path / "out.dcm").SegmentSequence
        assert liver.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"
        assert liver.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        for segment, rgb in ((liver, (0x30, 0x60, 0xC0)), (needle, colour_of(9))):
            shown = CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb(
                clip=True
            )
            assert np.abs(np.subtract(shown, rgb)).max() <= 1
        data = pydicom.dcmread(tmp_path / "out.rtstruct.dcm")
        assert [tuple(roi.ROIDisplayColor) for roi in data.ROIContourSequence] == [
            (0x30, 0x60, 0xC0),
            colour_of(9),
        ]
        said = data.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
        assert (said.CodingSchemeDesignator, said.CodeValue) == ("SCT", "52988006")

    def test_a_clip_without_positions(self, tmp_path: Path) -> None:
        stack = io.read(write_clip(tmp_path / "clip.dcm", 5, (ROWS, COLUMNS), FrameTime=40.0))
        found = labels()[:5]
        io.write(
            Masks.from_labels(found, names={4: "heart", 9: "valve"}), tmp_path / "out.dcm", stack
        )
        back = io.read_masks(tmp_path / "out.dcm", stack)
        assert np.array_equal(back.labels, found)
        assert back.names == {4: "heart", 9: "valve"}
        validate(tmp_path / "out.dcm")
