"""NRRD headers: axes, space and units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.nrrd_files import DATA, RAS, make

from segscope import io
from segscope.errors import UsageError
from segscope.geometry import LPS_TO_RAS
from segscope.masks import Masks


class TestSpace:
    @pytest.mark.parametrize(
        ("space", "to_ras"),
        [
            ("left-posterior-superior", LPS_TO_RAS),
            ("LPS", LPS_TO_RAS),
            ("right-anterior-superior", np.eye(4)),
            ("left-anterior-superior", np.diag([-1.0, 1, 1, 1])),
        ],
    )
    def test_the_affine_is_ras(self, space: str, to_ras: np.ndarray, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.nrrd", affine=RAS, space=space))
        np.testing.assert_allclose(stack.geometry.affine, to_ras @ RAS)
        assert "notes" not in stack.meta

    def test_an_unknown_space_is_noted(self, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.nrrd", affine=RAS, space="scanner-xyz"))
        assert "does not state the orientation" in stack.meta["notes"][0]

    def test_units(self, tmp_path: Path) -> None:
        stack = io.read(
            make(
                tmp_path / "a.nrrd", affine=RAS, space="RAS", **{"space units": ["um", "um", "um"]}
            )
        )
        np.testing.assert_allclose(stack.geometry.affine[:3], RAS[:3] * 1e-3)

    @pytest.mark.parametrize("ending", [".nrrd", ".seg.nrrd"])
    def test_masks_are_in_the_unit_of_their_scan(self, ending: str, tmp_path: Path) -> None:
        """ITK ignores units, so masks in another one would lie elsewhere for it."""
        sitk = pytest.importorskip("SimpleITK")
        units = {"space units": ["um", "um", "um"]}
        scan = io.read(make(tmp_path / "a.nrrd", affine=RAS, space="RAS", **units))
        labels = np.zeros(scan.shape_zyx, np.uint8)
        labels[3, 2, 4] = 1
        io.write(Masks.from_labels(labels), tmp_path / f"m{ending}", scan)
        image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
        masks = sitk.ReadImage(str(tmp_path / f"m{ending}"))
        for voxel in ((4, 2, 3), (0, 0, 0)):
            expected = image.TransformIndexToPhysicalPoint(voxel)
            assert masks.TransformIndexToPhysicalPoint(voxel) == pytest.approx(expected)
        back = io.read_masks(tmp_path / f"m{ending}", scan)
        np.testing.assert_array_equal(back.labels, labels)

    @pytest.mark.parametrize("ending", [".mha", ".nii.gz"])
    def test_masks_in_millimetres_of_such_a_scan_are_a_warning(
        self, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        units = {"space units": ["um", "um", "um"]}
        scan = io.read(make(tmp_path / "a.nrrd", affine=RAS, space="RAS", **units))
        io.write(Masks(scan.shape_zyx, {}, {}), tmp_path / f"m{ending}", scan)
        assert "programs that ignore units" in caplog.text

    @pytest.mark.parametrize("names", [["pixel"] * 3, ["mm", "mm", "um"]])
    def test_other_units_are_noted(self, names: list[str], tmp_path: Path) -> None:
        scan = io.read(make(tmp_path / "a.nrrd", affine=RAS, space="RAS", **{"space units": names}))
        np.testing.assert_allclose(scan.geometry.affine, RAS)
        assert "millimetres are assumed" in scan.meta["notes"][0]

    @pytest.mark.parametrize("header", [{}, {"axis mins": [1.0, 2.0, 3.0]}])
    def test_masks_lie_on_a_scan_with_spacings_alone_for_others_too(
        self, header: dict[str, list[float]], tmp_path: Path
    ) -> None:
        sitk = pytest.importorskip("SimpleITK")
        stack = io.read(make(tmp_path / "a.nrrd", spacings=[0.5, 0.6, 3.0], **header))
        scan = sitk.ReadImage(str(tmp_path / "a.nrrd"))
        for ending in (".nii.gz", ".nrrd", ".mha"):
            io.write(
                Masks.from_labels(np.ones(stack.shape_zyx, np.uint8)),
                tmp_path / f"m{ending}",
                stack,
            )
            mask = sitk.ReadImage(str(tmp_path / f"m{ending}"))
            for place in ("GetOrigin", "GetSpacing", "GetDirection"):
                np.testing.assert_allclose(
                    getattr(mask, place)(), getattr(scan, place)(), atol=1e-6
                )

    def test_a_direction_of_nan_is_none(self, tmp_path: Path) -> None:
        path = make(
            tmp_path / "a.nrrd",
            DATA[None],
            RAS,
            space="RAS",
            kinds=["list", *["domain"] * 3],
            encoding="raw",
        )
        path.write_bytes(
            path.read_bytes().replace(b"directions: none", b"directions: (nan,nan,nan)")
        )
        stack = io.read(path)
        np.testing.assert_allclose(stack.geometry.affine, RAS)
        np.testing.assert_array_equal(stack[1], DATA[..., 1].T)

    def test_spacings_alone(self, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.nrrd", spacings=[0.5, 0.6, 3.0]))
        assert stack.spacing_zyx_mm == (3.0, 0.6, 0.5)
        stack = io.read(make(tmp_path / "b.nrrd"))
        assert stack.geometry is None
        assert "no usable voxel sizes" in stack.meta["notes"][-1]

    def test_agrees_with_itk(self, tmp_path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        turn, _ = np.linalg.qr(RAS[:3, :3])
        image = sitk.GetImageFromArray(DATA)
        image.SetDirection(turn.ravel().tolist())
        image.SetSpacing((0.5, 0.6, 3))
        image.SetOrigin((1, -2, 3))
        expected = np.eye(4)
        expected[:3, :3], expected[:3, 3] = turn * [0.5, 0.6, 3], (1, -2, 3)
        for name in ("a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.nii.gz"):
            sitk.WriteImage(image, str(tmp_path / name))
            stack = io.read(tmp_path / name)
            np.testing.assert_allclose(
                stack.geometry.affine, LPS_TO_RAS @ expected, atol=1e-6, err_msg=name
            )
            np.testing.assert_array_equal([stack[i] for i in range(len(stack))], DATA)
            io.write(
                Masks.from_labels((DATA > 0).astype(int)),
                tmp_path / f"m_{name}".replace("nhdr", "nrrd"),
                stack,
            )
            back = sitk.ReadImage(str(tmp_path / f"m_{name}".replace("nhdr", "nrrd")))
            np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
            np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), rtol=1e-6)
            np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), rtol=1e-6)
            np.testing.assert_array_equal(sitk.GetArrayFromImage(back), DATA > 0)


class TestAxes:
    def test_colours_come_first(self, tmp_path: Path) -> None:
        colours = np.random.default_rng(1).integers(0, 255, (3, 7, 6, 5)).astype(np.uint8)
        for kind in ("RGB-color", "vector"):
            stack = io.read(
                make(tmp_path / "a.nrrd", colours, RAS, space="RAS", kinds=[kind, *["domain"] * 3])
            )
            assert stack.source.shape == (5, 6, 7, 3)
            np.testing.assert_array_equal(stack[2], colours[..., 2].transpose(2, 1, 0))

    def test_a_list_in_front_or_behind_is_volumes(self, tmp_path: Path) -> None:
        several = np.random.default_rng(1).integers(0, 99, (4, 7, 6, 5)).astype(np.int16)
        front = make(
            tmp_path / "a.nrrd", several, RAS, space="RAS", kinds=["list", *["domain"] * 3]
        )
        behind = make(
            tmp_path / "b.nrrd",
            np.moveaxis(several, 0, -1),
            RAS,
            space="RAS",
            kinds=[*["domain"] * 3, "list"],
        )
        for path in (front, behind):
            with pytest.raises(UsageError, match="4 volumes"):
                io.read(path)
            stack = io.read(path, volume=3)
            np.testing.assert_allclose(stack.geometry.affine, RAS)
            np.testing.assert_array_equal(stack[1], several[3, :, :, 1].T)

    def test_two_axes_are_an_image(self, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.nrrd", DATA[..., 0], spacings=[0.5, 0.25]))
        assert stack.kind == "image"
        assert stack.spacing_zyx_mm == (1.0, 0.25, 0.5)
        np.testing.assert_array_equal(stack[0], DATA[..., 0].T)
