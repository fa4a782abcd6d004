"""Masks are put on the grid of their stack by whole voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.contract_files import AFFINE

from segscope import io
from segscope.errors import ReadError
from segscope.io.label_frames import (
    format_names,
    iter_label_frames,
    label_type,
    masks_from_frames,
    parse_names,
    renumber_binary,
)
from segscope.masks import Masks
from segscope.stack import Stack

SPACING_XYZ = (2.0, 3.0, 4.0)
LABELS = np.random.default_rng(8).integers(0, 3, (4, 5, 6)).astype(np.uint8)


def make_without_place(path: Path, labels: np.ndarray = LABELS) -> Path:
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), None)
    image.header.set_zooms(SPACING_XYZ)
    nibabel.save(image, path)
    return path


class TestPlaceUnknown:
    """Files that state voxel sizes only."""

    @pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd"])
    def test_masks_lie_where_itk_places_the_scan(self, ending: str, tmp_path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        scan = io.read(make_without_place(tmp_path / "scan.nii.gz"))
        io.write(Masks.from_labels(LABELS), tmp_path / f"m{ending}", scan)
        image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
        masks = sitk.ReadImage(str(tmp_path / f"m{ending}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(masks), LABELS)
        for voxel in ((0, 0, 0), (5, 4, 3), (1, 2, 3)):
            expected = image.TransformIndexToPhysicalPoint(voxel)
            assert masks.TransformIndexToPhysicalPoint(voxel) == pytest.approx(expected)

    @pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".npz"])
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_masks_come_back_in_their_stored_order(
        self, axis: int, ending: str, tmp_path: Path
    ) -> None:
        scan = io.read(make_without_place(tmp_path / "scan.nii.gz"))
        io.write(Masks.from_labels(LABELS), tmp_path / f"m{ending}", scan)
        back = io.read_masks(tmp_path / f"m{ending}", scan.along(axis))
        np.testing.assert_array_equal(back.labels, np.moveaxis(LABELS, axis, 0))

    @pytest.mark.parametrize("affine", ["nibabel", "identity"])
    def test_masks_with_a_place_fit_in_their_stored_order(
        self, affine: str, tmp_path: Path
    ) -> None:
        path = make_without_place(tmp_path / "scan.nii.gz")
        place = nibabel.load(path).affine
        if affine == "identity":
            place = np.diag([*SPACING_XYZ, 1.0])
        nibabel.save(nibabel.Nifti1Image(LABELS.transpose(2, 1, 0), place), tmp_path / "m.nii")
        back = io.read_masks(tmp_path / "m.nii", io.read(path))
        np.testing.assert_array_equal(back.labels, LABELS)

    def test_masks_without_a_place_on_a_scan_with_one_are_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        scan = Stack.from_array(LABELS, affine=np.diag([-2.0, 3, 4, 1]), channels=False)
        back = io.read_masks(make_without_place(tmp_path / "m.nii"), scan)
        np.testing.assert_array_equal(back.labels, LABELS)
        assert back.geometry is scan.geometry
        assert "matched with those of the stack in their stored order" in caplog.text

    def test_another_spacing_or_size_is_refused(self, tmp_path: Path) -> None:
        scan = Stack.from_array(LABELS, spacing_zyx_mm=(4.0, 3.0, 2.1), channels=False)
        with pytest.raises(ReadError, match="another grid"):
            io.read_masks(make_without_place(tmp_path / "m.nii"), scan)
        scan = Stack.from_array(LABELS[1:], spacing_zyx_mm=(4.0, 3.0, 2.0), channels=False)
        with pytest.raises(ReadError, match="holds masks of 4 x 5 x 6"):
            io.read_masks(make_without_place(tmp_path / "m.nii"), scan)

    def test_voxel_sizes_of_an_array_stay_without_a_place(self, tmp_path: Path) -> None:
        scan = Stack.from_array(LABELS, spacing_zyx_mm=(4.0, 3.0, 2.0), channels=False)
        io.write(Masks.from_labels(LABELS), tmp_path / "m.nii", scan)
        header = nibabel.load(tmp_path / "m.nii").header
        assert header.get_zooms() == SPACING_XYZ
        assert (header["sform_code"], header["qform_code"]) == (0, 0)


def write_shifted(path: Path, columns: int, labels: np.ndarray = LABELS) -> Path:
    """Labels as NIfTI, some columns away from their place by `AFFINE`."""
    shift = np.eye(4)
    shift[0, 3] = columns
    nibabel.Nifti1Image(labels.transpose(2, 1, 0), AFFINE @ shift).to_filename(path)
    return path


class TestGridOfTheStack:
    @pytest.mark.parametrize("flips", [(0,), (1, 2), (0, 1, 2)])
    def test_masks_in_another_order_are_moved_by_whole_voxels(
        self, flips: tuple[int, ...], tmp_path: Path
    ) -> None:
        labels = np.random.default_rng(4).integers(0, 3, (4, 5, 6)).astype(np.uint8)
        stack = Stack.from_array(labels, affine=AFFINE, channels=False)
        change = np.eye(4)  # voxel index of the flipped and transposed file to that of the stack
        flipped = np.flip(labels, flips)
        for axis in flips:
            change[2 - axis, 2 - axis], change[2 - axis, 3] = -1, labels.shape[axis] - 1
        turned, order = flipped.transpose(1, 0, 2), np.eye(4)[:, [0, 2, 1, 3]]
        image = nibabel.Nifti1Image(turned.transpose(2, 1, 0), AFFINE @ change @ order)
        image.to_filename(tmp_path / "m.nii")
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.nii", stack).labels, labels)

    def test_a_cropped_file_is_padded(self, tmp_path: Path) -> None:
        labels = np.zeros((6, 7, 8), np.uint8)
        labels[2:4, 3:5, 4:7] = 2
        shift = np.eye(4)
        shift[:3, 3] = (4, 3, 2)
        nibabel.Nifti1Image(labels[2:4, 3:5, 4:7].transpose(2, 1, 0), AFFINE @ shift).to_filename(
            tmp_path / "m.nii"
        )
        stack = Stack.from_array(labels, affine=AFFINE, channels=False)
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.nii", stack).labels, labels)

    @pytest.mark.parametrize("change", [np.diag([2.0, 1, 1, 1]), np.eye(4) + np.eye(4, k=3) * 0.5])
    def test_another_grid_is_refused(self, change: np.ndarray, tmp_path: Path) -> None:
        labels = np.zeros((4, 5, 6), np.uint8)
        nibabel.Nifti1Image(labels.transpose(2, 1, 0), AFFINE @ change).to_filename(
            tmp_path / "m.nii"
        )
        with pytest.raises(ReadError, match=r"another grid.*Resample"):
            io.read_masks(
                tmp_path / "m.nii", Stack.from_array(labels, affine=AFFINE, channels=False)
            )

    def test_masks_outside_the_stack_are_refused(self, tmp_path: Path) -> None:
        path = write_shifted(tmp_path / "m.nii", 1000)
        with pytest.raises(ReadError, match="no labelled voxel inside the stack"):
            io.read_masks(path, Stack.from_array(LABELS, affine=AFFINE, channels=False))

    def test_voxels_outside_the_stack_are_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write_shifted(tmp_path / "m.nii", 1)
        back = io.read_masks(path, Stack.from_array(LABELS, affine=AFFINE, channels=False))
        np.testing.assert_array_equal(back.labels[..., 1:], LABELS[..., :-1])
        total = np.count_nonzero(LABELS)
        lost = np.count_nonzero(LABELS[..., -1])
        assert f"{lost} of {total} labelled voxels lie outside the stack" in caplog.text

    def test_empty_masks_may_lie_anywhere(self, tmp_path: Path) -> None:
        path = write_shifted(tmp_path / "m.nii", 1000, LABELS * 0)
        stack = Stack.from_array(LABELS, affine=AFFINE, channels=False)
        assert not io.read_masks(path, stack).labels.any()

    def test_another_size_is_refused(self, tmp_path: Path) -> None:
        io.write(Masks((3, 5, 6), {}, {}), tmp_path / "m.npz")
        with pytest.raises(ReadError, match="3 x 5 x 6"):
            io.read_masks(tmp_path / "m.npz", Stack.from_array(np.zeros((3, 5, 7))))


class TestNotes:
    def test_names_come_back(self) -> None:
        names = {3: "Leber", 1: "病変", 2: ""}
        assert parse_names(format_names(names)) == names
        assert list(parse_names(format_names(names))) == [1, 2, 3]

    @pytest.mark.parametrize("note", [None, "", "{", "[]", '{"names": [1]}', '{"names": {"a": 1}}'])
    def test_other_notes_name_nothing(self, note: object) -> None:
        assert parse_names(note) == {}


class TestLabels:
    def test_the_smallest_type_holds_all_ids(self) -> None:
        small = Masks.from_labels(np.array([[[0, 255]]]))
        large = Masks.from_labels(np.array([[[0, 256]]]))
        assert label_type(small) == np.uint8
        assert label_type(large) == np.uint16

    def test_a_single_255_is_object_1(self) -> None:
        masks = renumber_binary(Masks.from_labels(np.array([[[0, 255]], [[255, 0]]])))
        assert list(masks.object_ids) == [1]
        assert masks.labels.tolist() == [[[0, 1]], [[1, 0]]]

    def test_255_among_others_stays(self) -> None:
        masks = Masks.from_labels(np.array([[[1, 255]]]))
        assert renumber_binary(masks) is masks

    def test_frames_come_back(self) -> None:
        labels = np.random.default_rng(0).integers(0, 4, (3, 5, 6)).astype(np.uint8)
        masks = Masks.from_labels(labels)
        frames = list(iter_label_frames(masks, Path("a")))
        np.testing.assert_array_equal(frames, labels)
        again = masks_from_frames(Path("a"), frames, (3, 5, 6), names={2: "two"})
        np.testing.assert_array_equal(again.labels, labels)
        assert again.names[2] == "two"

    @pytest.mark.parametrize(
        "frame", [np.zeros((2, 2, 3)), np.array([[0.5]]), np.array([[-1]]), np.array([[2**32]])]
    )
    def test_what_is_no_label_frame_is_refused(self, frame: np.ndarray) -> None:
        with pytest.raises(ReadError):
            masks_from_frames(Path("a"), [frame], (1, *frame.shape[:2]))  # type: ignore[arg-type]
