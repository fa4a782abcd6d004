"""NPY and NPZ: shapes that mean something, nothing unpickled, nothing larger than declared."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.masks import Masks
from segscope.stack import Stack

DATA = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype(np.int16)
LABELS = (DATA > 0).astype(np.uint8) * 3


class TestShapes:
    @pytest.mark.parametrize(
        ("shape", "expected", "kind"),
        [
            ((6, 7), (1, 6, 7), "image"),
            ((5, 6, 7), (5, 6, 7), "volume"),
            ((6, 7, 3), (1, 6, 7, 3), "image"),
            ((5, 6, 7, 3), (5, 6, 7, 3), "volume"),
        ],
    )
    def test_npy(
        self, shape: tuple[int, ...], expected: tuple[int, ...], kind: str, tmp_path: Path
    ) -> None:
        array = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
        for order in "CF":
            np.save(tmp_path / "a.npy", np.asarray(array, order=order))
            stack = io.read(tmp_path / "a.npy")
            assert (stack.source.shape, stack.kind) == (expected, kind)
            np.testing.assert_array_equal(stack[0], array.reshape(expected)[0])

    def test_four_axes_without_colours_are_volumes(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.stack([DATA, DATA + 1]))
        with pytest.raises(UsageError, match="2 volumes"):
            io.read(tmp_path / "a.npy")
        np.testing.assert_array_equal(io.read(tmp_path / "a.npy", volume=1)[3], DATA[3] + 1)

    @pytest.mark.parametrize(
        "array", [np.zeros(5), np.zeros((2, 2, 2, 2, 2)), np.zeros((2, 2), "c8"), np.array(["a"])]
    )
    def test_what_is_no_image_is_refused(self, array: np.ndarray, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ReadError):
            io.read(tmp_path / "a.npy")

    def test_half_floats_and_other_byte_orders(self, tmp_path: Path) -> None:
        for dtype in (np.float16, ">i2", ">f4"):
            np.save(tmp_path / "a.npy", DATA.astype(dtype))
            stack = io.read(tmp_path / "a.npy")
            assert stack.source.dtype.isnative
            assert stack.source.dtype != np.float16
            np.testing.assert_array_equal(stack[2], DATA.astype(dtype)[2])


class TestSafety:
    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        witness = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (witness,))

        np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
        np.savez(tmp_path / "a.npz", imgs=np.array([Evil()], dtype=object))
        (tmp_path / "b.npy").write_bytes(pickle.dumps(Evil()))
        for name in ("a.npy", "a.npz", "b.npy"):
            for reader in (io.read, io.read_masks):
                with pytest.raises(ReadError):
                    reader(tmp_path / name)
        assert not witness.exists()

    def test_a_header_may_not_declare_more_than_is_there(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npy").open("wb") as file:
            head = {"descr": "<i2", "fortran_order": False, "shape": (500, 600, 700)}
            np.lib.format.write_array_header_1_0(file, head)
            file.write(bytes(1000))
        with pytest.raises(ReadError, match="cut off"):
            io.read(tmp_path / "a.npy")

    def test_an_array_of_zeros_that_inflates_a_thousandfold_is_refused(
        self, tmp_path: Path
    ) -> None:
        with (
            zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive,
            archive.open("imgs.npy", "w", force_zip64=True) as file,
        ):
            head = {"descr": "|u1", "fortran_order": False, "shape": (100, 512, 512)}
            np.lib.format.write_array_header_1_0(file, head)
            for _ in range(100):
                file.write(bytes(512 * 512))
        with pytest.raises(ReadError, match="mislead"):
            io.read(tmp_path / "a.npz")


class TestCases:
    def test_image_truth_and_spacing(self, tmp_path: Path) -> None:
        np.savez_compressed(
            tmp_path / "a.npz",
            imgs=DATA,
            gts=LABELS,
            spacing=np.array([0.5, 0.6, 3.0]),
            boxes=np.zeros(4),
        )
        stack = io.read(tmp_path / "a.npz")
        np.testing.assert_array_equal(stack[1], DATA[1])
        assert stack.spacing_zyx_mm == (3.0, 0.6, 0.5)  # GetSpacing order is x, y, z
        np.testing.assert_array_equal(io.read_masks(tmp_path / "a.npz", stack).labels, LABELS)

    def test_a_single_array_needs_no_name_and_several_do(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", whatever=DATA)
        np.testing.assert_array_equal(io.read(tmp_path / "a.npz")[0], DATA[0])
        np.savez(tmp_path / "b.npz", one=DATA, two=DATA)
        with pytest.raises(ReadError, match=r"one, two.*imgs"):
            io.read(tmp_path / "b.npz")

    @pytest.mark.parametrize("spacing", [[0, 1, 1], [1, 1], [1, 1, np.nan], [-1, 1, 1]])
    def test_a_spacing_that_cannot_be_is_refused(
        self, spacing: list[float], tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "a.npz", imgs=DATA, spacing=np.array(spacing))
        with pytest.raises(ReadError, match="spacing"):
            io.read(tmp_path / "a.npz")

    def test_what_is_written_is_plain_numpy(self, tmp_path: Path) -> None:
        geometry = Geometry.from_spacing((3.0, 0.6, 0.5))
        io.write(Masks.from_labels(LABELS, geometry=geometry), tmp_path / "m.npz")
        with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
            np.testing.assert_array_equal(archive["gts"], LABELS)
            np.testing.assert_array_equal(archive["spacing"], [0.5, 0.6, 3.0])

    def test_masks_in_npy(self, tmp_path: Path) -> None:
        np.save(tmp_path / "m.npy", LABELS)
        np.testing.assert_array_equal(
            io.read_masks(tmp_path / "m.npy", Stack.from_array(DATA)).labels, LABELS
        )
