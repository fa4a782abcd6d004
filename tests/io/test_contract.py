"""What every format and every mask format must do, on small files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.contract_files import AFFINE, SMALL

from segscope import io
from segscope.errors import ReadError, SegscopeError, UsageError, WriteError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.masks import Masks
from segscope.stack import Stack

VOLUME = np.random.default_rng(1).integers(-900, 900, (4, 9, 7)).astype(np.int16)


def _nifti(path: Path) -> None:
    nibabel.Nifti1Image(VOLUME.transpose(2, 1, 0), AFFINE).to_filename(path)


def _nrrd(encoding: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        lps = LPS_TO_RAS @ AFFINE
        header = {
            "space": "left-posterior-superior",
            "space directions": lps[:3, :3].T,
            "space origin": lps[:3, 3],
            "encoding": encoding,
            "kinds": ["domain"] * 3,
        }
        nrrd.write(str(path), VOLUME.transpose(2, 1, 0), header)

    return make


def _metaimage(compressed: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        q, r = np.linalg.qr(
            (LPS_TO_RAS @ AFFINE)[:3, :3]
        )  # MetaImage keeps directions and spacings: no shear
        image = sitk.GetImageFromArray(VOLUME)
        image.SetDirection((q * np.sign(np.diag(r))).ravel().tolist())
        image.SetSpacing((0.7, 0.8, 2.5))
        sitk.WriteImage(image, str(path), compressed)

    return make


def _npz(path: Path) -> None:
    np.savez_compressed(
        path, imgs=VOLUME, gts=(VOLUME > 0).astype(np.uint8), spacing=np.array([0.7, 0.8, 2.5])
    )


def _tiff(**options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, SMALL, **options)


def _image(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(array).save(path)


MEMBERS: dict[str, tuple[str, Callable[[Path], None], np.ndarray]] = {
    "nifti": ("a.nii", _nifti, VOLUME),
    "nifti gz": ("a.nii.gz", _nifti, VOLUME),
    "nrrd raw": ("a.nrrd", _nrrd("raw"), VOLUME),
    "nrrd gzip": ("a.nrrd", _nrrd("gzip"), VOLUME),
    "nrrd bzip2": ("a.nrrd", _nrrd("bzip2"), VOLUME),
    "nrrd ascii": ("a.nrrd", _nrrd("ascii"), VOLUME),
    "metaimage": ("a.mha", _metaimage(False), VOLUME),
    "metaimage deflated": ("a.mha", _metaimage(True), VOLUME),
    "npy": ("a.npy", lambda path: np.save(path, VOLUME), VOLUME),
    "npz": ("a.npz", _npz, VOLUME),
    "tiff": ("a.tif", _tiff(), SMALL),
    "tiff deflated": ("a.tif", _tiff(compression="zlib"), SMALL),
    "tiff tiled": ("a.tif", _tiff(tile=(16, 16), compression="zlib"), SMALL),
    "imagej": ("a.tif", _tiff(imagej=True, metadata={"axes": "ZYX"}), SMALL),
    "ome": ("a.ome.tif", _tiff(metadata={"axes": "ZYX"}), SMALL),
    "ome deflated": ("a.ome.tif", _tiff(metadata={"axes": "ZYX"}, compression="zlib"), SMALL),
    "png": ("a.png", _image(SMALL[0]), SMALL[:1]),
    "png 16 bit": (
        "a.png",
        _image(SMALL[0].astype(np.uint16) * 200),
        SMALL[:1].astype(np.uint16) * 200,
    ),
    "bmp": ("a.bmp", _image(SMALL[0]), SMALL[:1]),
}


@pytest.fixture(params=MEMBERS, scope="module")
def member(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray]:
    name, make, array = MEMBERS[request.param]
    path = tmp_path_factory.mktemp("member") / name
    make(path)
    return path, array


def frames_of(path: Path) -> np.ndarray:
    stack = io.read(path)
    return np.stack([stack[index] for index in range(len(stack))])


def frames_or_refusal(path: Path) -> np.ndarray | str:
    """All frames, or the message of an error of ours; any other error passes through."""
    try:
        return frames_of(path)
    except SegscopeError as error:
        return str(error)


class TestFormat:
    def test_frames_are_those_that_were_stored(self, member: tuple[Path, np.ndarray]) -> None:
        path, array = member
        stack = io.read(path)
        assert stack.source.shape == array.shape
        assert stack.source.dtype == array.dtype
        assert stack.source.dtype.isnative
        for index in (3, 0, 2, 0):
            if index < len(array):
                frame = stack[index]
                assert frame.dtype == array.dtype
                np.testing.assert_array_equal(frame, array[index])

    def test_the_path_is_remembered(self, member: tuple[Path, np.ndarray]) -> None:
        assert io.read(member[0]).path == member[0]

    def test_a_file_cut_anywhere_is_refused(
        self, member: tuple[Path, np.ndarray], tmp_path: Path
    ) -> None:
        path, array = member
        whole = path.read_bytes()
        cut = tmp_path / path.name
        for length in sorted({*np.linspace(0, len(whole) - 1, 50).astype(int), *range(1, 24)}):
            cut.write_bytes(whole[: int(length)])
            outcome = frames_or_refusal(cut)
            if isinstance(outcome, str):
                assert str(cut) in outcome
                assert len(outcome) < 700
            else:
                np.testing.assert_array_equal(
                    outcome, array
                )  # only what follows the pixels was lost

    def test_damaged_bytes_never_raise_anything_but_our_errors(
        self, member: tuple[Path, np.ndarray], tmp_path: Path
    ) -> None:
        path, _ = member
        whole = path.read_bytes()
        random = np.random.default_rng(len(whole))
        damaged = tmp_path / path.name
        for turn in range(60):
            data = np.frombuffer(whole, np.uint8).copy()
            head = len(data) if turn % 3 == 0 else min(len(data), 600)
            places = random.integers(0, head, 1 + turn % 5)
            data[places] = random.choice([0, 255, 127, int(random.integers(256))], len(places))
            damaged.write_bytes(data.tobytes())
            outcome = frames_or_refusal(damaged)
            assert not isinstance(outcome, str) or len(outcome) < 900

    def test_choices_that_mean_nothing_are_refused(self, member: tuple[Path, np.ndarray]) -> None:
        for choice in ({"volume": 3}, {"channel": 2}, {"series": "nothing"}):
            with pytest.raises(UsageError):
                io.read(member[0], **choice)

    def test_text_under_this_name_is_refused(
        self, member: tuple[Path, np.ndarray], tmp_path: Path
    ) -> None:
        wrong = tmp_path / member[0].name
        wrong.write_text("Dear colleague, the scan is attached.\n" * 40)
        with pytest.raises(ReadError):
            frames_of(wrong)

    def test_an_empty_file_is_refused(
        self, member: tuple[Path, np.ndarray], tmp_path: Path
    ) -> None:
        (tmp_path / member[0].name).touch()
        with pytest.raises(ReadError, match="empty"):
            io.read(tmp_path / member[0].name)


GRIDS = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd", ".npz")


ANY = (*GRIDS, ".tif", ".ome.tif", ".json", "")


@st.composite
def affines(draw: st.DrawFn, shear: bool) -> np.ndarray:
    """Oblique, anisotropic, either hand; sheared where asked."""
    seed = draw(st.integers(0, 2**31))
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    spacing = [draw(st.floats(0.01, 30)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    if shear:
        affine[:3, 2] += 0.3 * affine[:3, 0]
    affine[:3, 3] = random.uniform(-2000, 2000, 3)
    return affine


@st.composite
def label_arrays(draw: st.DrawFn) -> np.ndarray:
    shape = tuple(draw(st.integers(1, 6)) for _ in range(3))
    top = draw(st.sampled_from([1, 3, 255, 256, 65535]))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    labels = random.choice([0, 1, top], shape).astype(np.uint16)
    labels.flat[0] = top
    if set(np.unique(labels)) <= {0, 255}:
        labels.flat[0] = 1  # a lone 255 means object 1
    return labels


STACKS: dict[str, Stack] = {
    "one pixel": Stack.from_array(np.zeros((1, 1, 1), np.uint8), channels=False),
    "one column": Stack.from_array(np.zeros((3, 6, 1), np.int16), affine=AFFINE, channels=False),
    "one row": Stack.from_array(np.zeros((3, 1, 7), np.int16), affine=AFFINE, channels=False),
    "sheared": Stack.from_array(VOLUME, affine=AFFINE @ (np.eye(4) + 0.2 * np.eye(4, k=2))),
    "tiny voxels": Stack.from_array(VOLUME, affine=np.diag([1e-6, 1e-6, 1e-6, 1])),
    "video": Stack.from_array(VOLUME, times_s=[0.0, 0.1, 0.3, 0.9]),
    "colours": Stack.from_array(np.zeros((9, 7, 3), np.uint8)),
    "other axis": Stack.from_array(VOLUME, affine=AFFINE).along(2),
}


def _write_real_numbers(path: Path, values: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".nii":
        nibabel.Nifti1Image(values.transpose(2, 1, 0), AFFINE).to_filename(path)
    else:
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


class TestMaskFormat:
    @pytest.mark.parametrize("ending", GRIDS)
    @given(labels=label_arrays(), data=st.data())
    @settings(
        max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_grid_and_labels_come_back(
        self, ending: str, labels: np.ndarray, data: st.DataObject, tmp_path: Path
    ) -> None:
        affine = data.draw(affines(shear=ending in (".nii", ".nrrd", ".npz")))
        masks = Masks.from_labels(labels, geometry=Geometry(affine))
        path = tmp_path / f"m{ending}"
        io.write(masks, path)
        back = io.read_masks(path)
        np.testing.assert_array_equal(back.labels, labels)
        assert back.geometry is not None
        tolerance = 2e-4 if ".nii" in ending else 1e-9  # NIfTI keeps float32
        np.testing.assert_allclose(back.geometry.affine, affine, atol=tolerance, rtol=1e-6)
        again = io.read_masks(path, Stack.from_array(labels, affine=affine, channels=False))
        np.testing.assert_array_equal(again.labels, labels)
        assert again.geometry is not None
        np.testing.assert_array_equal(again.geometry.affine, affine)

    @pytest.mark.parametrize("ending", ANY)
    def test_a_stack_without_geometry(self, ending: str, tmp_path: Path) -> None:
        labels = np.random.default_rng(0).integers(0, 4, (3, 5, 6)).astype(np.uint16)
        like = Stack.from_array(labels, channels=False)
        io.write(Masks.from_labels(labels), tmp_path / f"m{ending}", like)
        back = io.read_masks(tmp_path / f"m{ending}", like)
        np.testing.assert_array_equal(back.labels, labels)
        assert back.geometry is None

    @pytest.mark.parametrize("ending", ANY)
    def test_no_object_at_all(self, ending: str, tmp_path: Path) -> None:
        io.write(Masks((2, 4, 5), {}, {}), tmp_path / f"m{ending}")
        assert not io.read_masks(tmp_path / f"m{ending}").labels.any()

    @pytest.mark.parametrize("ending", [*ANY, ".png"])
    @pytest.mark.parametrize("name", STACKS)
    def test_what_passes_the_check_can_be_written(
        self, ending: str, name: str, tmp_path: Path
    ) -> None:
        stack = STACKS[name]
        path = tmp_path / f"m{ending}"
        try:
            io.check_output(path, stack)
        except SegscopeError:
            assert not list(tmp_path.iterdir())
            return
        labels = np.zeros(stack.shape_zyx, np.uint8)
        labels[:, 0, 0] = 1
        masks = Masks.from_labels(labels, geometry=stack.geometry)
        io.write(replace(masks, axis=stack.axis), path, stack)
        assert np.array_equal(io.read_masks(path, stack).labels, labels)

    @pytest.mark.parametrize("ending", ANY[:-1])
    def test_a_fault_of_a_writer_is_not_one_of_the_image(
        self, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise KeyError("1.2.840")

        monkeypatch.setattr(Masks, "on_stored_grid", fail)
        stack = Stack.from_array(SMALL)
        with pytest.raises(WriteError, match=r"cannot be written as .* KeyError '1\.2\.840'"):
            io.check_output(tmp_path / f"m{ending}", stack)
        with pytest.raises(WriteError, match="report this"):
            io.write(Masks(SMALL.shape, {}, {}), tmp_path / f"m{ending}", stack)

    @pytest.mark.parametrize("ending", ANY[:-1])
    def test_ids_above_16_bits_come_back(self, ending: str, tmp_path: Path) -> None:
        labels = np.array([[[0, 65536], [7, 2**31 - 1]], [[0, 0], [7, 65535]]], np.uint32)
        stack = Stack.from_array(np.zeros(labels.shape, np.int16), channels=False)
        path = tmp_path / f"m{ending}"
        io.check_output(path, stack, object_ids=[65536])
        io.write(Masks.from_labels(labels), path, stack)
        assert np.array_equal(io.read_masks(path, stack).labels, labels)

    @pytest.mark.parametrize("ending", ["", ".png"])
    def test_a_png_refuses_ids_above_16_bits_before_the_work(
        self, ending: str, tmp_path: Path
    ) -> None:
        stack = Stack.from_array(np.zeros((1, 4, 5), np.int16), channels=False)
        with pytest.raises(UsageError, match="object 65536; write"):
            io.check_output(tmp_path / f"m{ending}", stack, object_ids=[3, 65536])

    @pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha", ".npy"])
    def test_labels_stored_as_real_numbers(self, ending: str, tmp_path: Path) -> None:
        labels = np.random.default_rng(0).integers(0, 4, (3, 5, 6))
        noise = np.random.default_rng(1).uniform(-9e-4, 9e-4, labels.shape)
        for values, is_label_map in ((labels + noise, True), (labels + 0.01, False)):
            path = tmp_path / f"{is_label_map}{ending}"
            _write_real_numbers(path, values.astype(np.float32))
            if is_label_map:
                assert np.array_equal(io.read_masks(path).labels, labels)
                continue
            with pytest.raises(ReadError, match="whole numbers"):
                io.read_masks(path)

    def test_a_pipe_or_a_device_is_no_output(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "m.nii")
        for path in (tmp_path / "m.nii", Path(os.devnull)):
            with pytest.raises(UsageError, match="is a pipe or a device"):
                io.check_output(path, Stack.from_array(SMALL))

    @pytest.mark.parametrize("ending", ANY)
    def test_masks_along_another_axis_are_stored_on_the_grid_of_the_file(
        self, ending: str, tmp_path: Path
    ) -> None:
        labels = np.random.default_rng(3).integers(0, 3, (3, 5, 6)).astype(np.uint16)
        stored = Stack.from_array(labels, affine=AFFINE, channels=False)
        for axis in (1, 2):
            turned = stored.along(axis)
            masks = Masks.from_labels(np.moveaxis(labels, axis, 0), geometry=turned.geometry)
            masks = Masks(
                masks.shape_zyx, masks.runs, masks.names, geometry=turned.geometry, axis=axis
            )
            path = tmp_path / f"m{axis}{ending}"
            io.write(masks, path, turned)
            np.testing.assert_array_equal(io.read_masks(path, stored).labels, labels)
            back = io.read_masks(path, turned)
            assert back.axis == axis
            np.testing.assert_array_equal(back.labels, np.moveaxis(labels, axis, 0))

    @pytest.mark.parametrize("ending", [".seg.nrrd", ".tif", ".ome.tif", ".npz", ".json", ""])
    def test_names_come_back(self, ending: str, tmp_path: Path) -> None:
        labels = np.array([[[0, 1], [2, 7]], [[1, 1], [0, 2]]])
        names = {1: "Léber \\ left\\n", 2: "", 7: 'a "b" | c: ö', 9: "nowhere"}
        io.write(Masks.from_labels(labels, names=names), tmp_path / f"m{ending}")
        assert io.read_masks(tmp_path / f"m{ending}").names == names

    @pytest.mark.parametrize("ending", [".seg.nrrd", ".json"])
    def test_overlapping_objects_are_all_kept(self, ending: str, tmp_path: Path) -> None:
        masks = overlapping()
        io.write(masks, tmp_path / f"m{ending}")
        back = io.read_masks(tmp_path / f"m{ending}")
        for object_id in (1, 2, 3):
            np.testing.assert_array_equal(back.of(object_id), masks.of(object_id))

    @pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha", ".npz", ".tif", ""])
    def test_a_label_map_says_that_it_loses_overlaps(
        self, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        io.write(overlapping(), tmp_path / f"m{ending}")
        assert "objects overlap (first on frame 0)" in caplog.text

    @pytest.mark.parametrize("ending", ANY)
    def test_equal_masks_make_equal_files(self, ending: str, tmp_path: Path) -> None:
        files = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            path = tmp_path / folder / f"m{ending}"
            io.write(Masks.from_labels(SMALL, geometry=Geometry(AFFINE)), path)
            files.append((path / "00001.png" if path.is_dir() else path).read_bytes())
        if ending != ".ome.tif":  # OME wants a fresh UUID
            assert files[0] == files[1]

    @pytest.mark.parametrize("ending", ANY)
    def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(
        self, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / f"m{ending}"
        io.write(Masks.from_labels(SMALL), path)
        before = sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(SegscopeError, match="No space left"):
            io.write(Masks.from_labels(SMALL * 0), path)
        assert (
            sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())
            == before
        )

    def test_the_scan_itself_is_never_overwritten(self, tmp_path: Path) -> None:
        _nifti(tmp_path / "scan.nii")
        before = (tmp_path / "scan.nii").read_bytes()
        with pytest.raises(UsageError, match="scan itself"):
            io.write(
                Masks((4, 9, 7), {}, {}), tmp_path / "scan.nii", io.read(tmp_path / "scan.nii")
            )
        assert (tmp_path / "scan.nii").read_bytes() == before

    def test_a_frame_of_the_scan_is_never_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "scan").mkdir()
        Image.fromarray(SMALL[0]).save(tmp_path / "scan" / "1.png")
        before = (tmp_path / "scan" / "1.png").read_bytes()
        with pytest.raises(UsageError, match="a part of it"):
            io.write(
                Masks((1, 24, 31), {}, {}), tmp_path / "scan" / "1.png", io.read(tmp_path / "scan")
            )
        assert (tmp_path / "scan" / "1.png").read_bytes() == before

    def test_a_name_too_long_for_the_file_system_is_an_error_of_ours(self, tmp_path: Path) -> None:
        _nifti(tmp_path / "scan.nii")
        with pytest.raises(WriteError, match="too long"):
            io.write(
                Masks((4, 9, 7), {}, {}),
                tmp_path / ("m" * 300 + ".nii"),
                io.read(tmp_path / "scan.nii"),
            )

    def test_a_folder_that_cannot_be_replaced_comes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        io.write(Masks.from_labels(SMALL), tmp_path / "m")
        before = sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())

        def refused(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "replace", refused)
        with pytest.raises(WriteError, match="Input/output"):
            io.write(Masks.from_labels(SMALL * 0), tmp_path / "m")
        assert (
            sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())
            == before
        )

    def test_masks_of_another_stack_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="made on"):
            io.write(
                Masks((4, 9, 7), {}, {}),
                tmp_path / "m.nii",
                Stack.from_array(VOLUME[:2], affine=AFFINE),
            )
        moved = Geometry(AFFINE + np.eye(4, k=3) * 5)
        masks = Masks(VOLUME.shape, {}, {}, geometry=moved)
        with pytest.raises(UsageError, match="elsewhere"):
            io.write(masks, tmp_path / "m.nii", Stack.from_array(VOLUME, affine=AFFINE))

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="does not exist"):
            io.write(Masks((1, 2, 2), {}, {}), tmp_path / "no" / "m.nii")


def overlapping() -> Masks:
    one, two, three = (np.zeros((2, 8, 8), bool) for _ in range(3))
    one[0, 1:5, 1:5] = two[0, 3:7, 3:7] = three[1, 0:2, 0:2] = True
    parts = {
        number: Masks.from_labels(mask.astype(np.uint8))
        for number, mask in enumerate((one, two, three), 1)
    }
    runs = {
        (frame, number): run
        for number, part in parts.items()
        for (frame, _), run in part.runs.items()
    }
    return Masks((2, 8, 8), runs, {1: "", 2: "", 3: ""}, geometry=Geometry(AFFINE))
