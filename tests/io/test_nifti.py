"""NIfTI: values, files and axes, read as nibabel reads them; label volumes out."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.nifti_files import AFFINE, DATA, edited, make

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks


class TestValues:
    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_agrees_with_nibabel(self, kind: Any, name: str, tmp_path: Path) -> None:
        path = make(tmp_path / name, (DATA * 0.37).astype(np.float32), kind=kind)
        stack, image = io.read(path), nibabel.load(path)
        for frame in range(5):
            np.testing.assert_array_equal(stack[frame], image.get_fdata()[..., frame].T)
        np.testing.assert_array_equal(stack.geometry.affine, image.affine)

    @pytest.mark.parametrize(
        "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"]
    )
    def test_every_type_stays_what_it_is(self, dtype: str, tmp_path: Path) -> None:
        header = nibabel.Nifti1Header(endianness=">" if ">" in dtype else "<")
        image = nibabel.Nifti1Image(DATA.astype(dtype), AFFINE, header, dtype=np.dtype(dtype))
        image.to_filename(tmp_path / "a.nii")
        stack = io.read(tmp_path / "a.nii")
        assert stack.source.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(stack[2], DATA.astype(dtype)[..., 2].T)

    @pytest.mark.parametrize(("slope", "inter"), [(2.0, 0.0), (1.0, -1024.0), (0.013, 5.5)])
    def test_slope_and_intercept_are_applied(
        self, slope: float, inter: float, tmp_path: Path
    ) -> None:
        path = edited(make(tmp_path / "a.nii.gz"), scl_slope=slope, scl_inter=inter)
        stack = io.read(path)
        assert stack.source.dtype == np.float32
        np.testing.assert_allclose(stack[1], DATA[..., 1].T * np.float32(slope) + inter, rtol=1e-6)

    @pytest.mark.parametrize("slope", [0.0, np.nan])
    def test_slope_zero_means_unscaled(self, slope: float, tmp_path: Path) -> None:
        path = edited(make(tmp_path / "a.nii"), scl_slope=slope, scl_inter=7)
        assert io.read(path).source.dtype == np.int16

    def test_values_that_are_not_finite_are_kept(self, tmp_path: Path) -> None:
        data = DATA.astype(np.float32)
        data[0, 0, 0], data[1, 0, 0] = np.nan, np.inf
        frame = io.read(make(tmp_path / "a.nii", data))[0]
        assert np.isnan(frame[0, 0])
        assert np.isinf(frame[0, 1])

    def test_colours_are_channels(self, tmp_path: Path) -> None:
        colours = np.random.default_rng(1).integers(0, 255, (4, 5, 3, 3)).astype(np.uint8)
        data = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
        stack = io.read(make(tmp_path / "a.nii.gz", data))
        assert stack.source.shape == (3, 5, 4, 3)
        np.testing.assert_array_equal(stack[1], colours[:, :, 1].transpose(1, 0, 2))

    def test_complex_values_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match=r"complex64.*magnitude"):
            io.read(make(tmp_path / "a.nii", DATA.astype(np.complex64)))

    def test_a_window_that_the_file_states_is_told(self, tmp_path: Path) -> None:
        assert io.read(make(tmp_path / "a.nii", cal_min=-160, cal_max=240)).meta["window"] == (
            -160,
            240,
        )
        assert "window" not in io.read(make(tmp_path / "b.nii")).meta

    def test_a_packed_file_under_a_plain_name_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.nii").write_bytes(make(tmp_path / "b.nii.gz").read_bytes())
        np.testing.assert_array_equal(io.read(tmp_path / "a.nii")[4], DATA[..., 4].T)

    def test_a_file_that_is_merely_called_gz_is_read(self, tmp_path: Path) -> None:
        make(tmp_path / "a.nii.gz").rename(tmp_path / "a.gz")
        scan = io.read(tmp_path / "a.gz")
        np.testing.assert_array_equal(scan[3], DATA[..., 3].T)
        make(tmp_path / "m.nii.gz", DATA % 3).rename(tmp_path / "m.gz")
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.gz", scan).labels, (DATA % 3).T)

    @pytest.mark.parametrize(
        "content",
        [b"hello", gzip.compress(b"hello"), b"\x1f\x8bhello"],
        ids=["text", "gzip of text", "damaged gzip"],
    )
    def test_other_files_of_that_name_are_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(UsageError):
            io.read(tmp_path / "a.gz")

    def test_several_gzip_streams_in_a_row_are_one_file(self, tmp_path: Path) -> None:
        raw = make(tmp_path / "a.nii").read_bytes()
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
        np.testing.assert_array_equal(io.read(tmp_path / "a.nii.gz")[4], DATA[..., 4].T)

    def test_header_and_data_in_two_files(self, tmp_path: Path) -> None:
        make(tmp_path / "a.img", kind=nibabel.Nifti1Pair)
        for name in ("a.hdr", "a.img"):
            np.testing.assert_array_equal(io.read(tmp_path / name)[3], DATA[..., 3].T)

    def test_header_and_data_in_capital_letters(self, tmp_path: Path) -> None:
        nibabel.Nifti1Pair(np.full((6, 5, 4), 7, np.int16), np.eye(4)).to_filename(
            tmp_path / "a.hdr"
        )
        for end in ("hdr", "img"):
            (tmp_path / f"a.{end}").rename(tmp_path / f"B.{end.upper()}")
        assert (
            io.read(tmp_path / "B.HDR")[3].tolist()
            == io.read(tmp_path / "B.IMG")[3].tolist()
            == [[7] * 6] * 5
        )


class TestAxes:
    def test_one_slice_is_an_image(self, tmp_path: Path) -> None:
        for data in (DATA[..., 0], DATA[..., :1]):
            stack = io.read(make(tmp_path / "a.nii", data))
            assert (stack.kind, stack.source.shape) == ("image", (1, 6, 7))

    def test_time_points_are_chosen_or_refused(self, tmp_path: Path) -> None:
        data = np.stack([DATA, DATA + 1, DATA + 2], axis=-1)
        for name in ("a.nii", "a.nii.gz"):
            path = make(tmp_path / name, data)
            with pytest.raises(UsageError, match=r"3 time points.*volume.*0 to 2"):
                io.read(path)
            stack = io.read(path, volume=1)
            assert stack.kind == "volume"
            np.testing.assert_array_equal(stack[4], DATA[..., 4].T + 1)
            with pytest.raises(UsageError, match="no volume 3"):
                io.read(path, volume=3)

    def test_one_slice_over_time_is_a_video_with_times(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(DATA[:, :, None, :], AFFINE)
        image.header.set_xyzt_units("mm", "msec")
        image.header["pixdim"][4] = 40
        image.to_filename(tmp_path / "a.nii.gz")
        stack = io.read(tmp_path / "a.nii.gz")
        assert stack.kind == "video"
        np.testing.assert_allclose(stack.times_s, np.arange(5) * 0.04)
        np.testing.assert_array_equal(stack[3], DATA[..., 3].T)
        io.write(Masks((5, 6, 7), {}, {}), tmp_path / "m.nii.gz", stack)
        assert nibabel.load(tmp_path / "m.nii.gz").shape == (7, 6, 1, 5)
        assert io.read_masks(tmp_path / "m.nii.gz", stack).shape_zyx == (5, 6, 7)


class TestLies:
    def test_a_cut_file_is_refused_before_the_first_frame(self, tmp_path: Path) -> None:
        for name in ("a.nii", "a.nii.gz"):
            path = make(tmp_path / name)
            path.write_bytes(path.read_bytes()[:-9])
            with pytest.raises(ReadError, match="cut off"):
                io.read(path)

    def test_a_wrong_checksum_is_noticed(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.nii.gz")
        raw = bytearray(path.read_bytes())
        raw[-6] ^= 1
        path.write_bytes(raw)
        stack = io.read(path)
        with pytest.raises(ReadError, match="check"):
            stack[4]


class TestLaziness:
    def test_a_frame_of_a_plain_file_costs_its_bytes(self, tmp_path: Path) -> None:
        header = nibabel.Nifti1Header()
        header.set_data_shape((512, 512, 8000))
        header.set_data_dtype(np.int16)
        header["magic"], header["vox_offset"] = b"n+1", 352
        with (tmp_path / "a.nii").open("wb") as file:  # sparse: 4 GB that take no disk
            file.write(header.binaryblock)
            file.truncate(352 + 512 * 512 * 8000 * 2)
        assert io.read(tmp_path / "a.nii")[7999].shape == (512, 512)

    def test_a_packed_file_is_inflated_only_as_far_as_asked(self, tmp_path: Path) -> None:
        data = np.random.default_rng(0).integers(0, 4000, (256, 256, 60)).astype(np.int16)
        stack = io.read(make(tmp_path / "a.nii.gz", data))
        stack[2]
        inflated = stack.source.data
        assert inflated.inflated_bytes < inflated.total / 4
        np.testing.assert_array_equal(stack[59], data[..., 59].T)
        np.testing.assert_array_equal(stack[0], data[..., 0].T)

    def test_large_inflated_data_go_to_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("segscope.io.byte_sources.MAX_MEMORY_BYTES", 100)
        stack = io.read(make(tmp_path / "a.nii.gz"))
        for frame in (3, 0, 4):
            np.testing.assert_array_equal(stack[frame], DATA[..., frame].T)

    def test_threads_may_read_at_once(self, tmp_path: Path) -> None:
        data = np.random.default_rng(0).integers(0, 4000, (64, 64, 40)).astype(np.int16)
        stack = io.read(make(tmp_path / "a.nii.gz", data))
        wrong: list[int] = []

        def look(seed: int) -> None:
            for frame in np.random.default_rng(seed).integers(0, 40, 40):
                if not np.array_equal(stack[int(frame)], data[..., frame].T):
                    wrong.append(int(frame))

        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class TestMasks:
    @given(seed=st.integers(0, 2**31))
    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_geometry_fields_are_those_of_the_source_to_the_bit(
        self, seed: int, tmp_path: Path
    ) -> None:
        random = np.random.default_rng(seed)
        kind = [nibabel.Nifti1Image, nibabel.Nifti2Image][seed % 2]
        turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3] = np.c_[turn * random.uniform(0.1, 9, 3), random.uniform(-900, 900, 3)]
        image = kind(DATA, affine)
        image.set_sform(affine + np.eye(4) * 1e-3, int(random.integers(0, 5)))
        image.set_qform(affine, int(random.integers(0, 5)))
        image.header.set_xyzt_units("mm", "sec")
        image.to_filename(tmp_path / "a.nii.gz")
        source = io.read(tmp_path / "a.nii.gz")
        io.write(Masks((5, 6, 7), {}, {}), tmp_path / "m.nii.gz", source)
        before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "m.nii.gz")
        for field in (
            "pixdim",
            "sform_code",
            "qform_code",
            "srow_x",
            "srow_y",
            "srow_z",
            "quatern_b",
            "quatern_c",
            "quatern_d",
            "qoffset_x",
            "qoffset_y",
            "qoffset_z",
            "xyzt_units",
        ):
            np.testing.assert_array_equal(after.header[field], before.header[field], field)
        np.testing.assert_array_equal(after.affine, before.affine)

    @pytest.mark.parametrize(
        "shape", [(6, 5), (6, 5, 1), (6, 5, 4, 1), (6, 5, 4, 1, 1), (6, 5, 1, 3)]
    )
    def test_masks_have_as_many_axes_as_their_scan(
        self, shape: tuple[int, ...], tmp_path: Path
    ) -> None:
        nibabel.Nifti1Image(np.zeros(shape, np.int16), np.diag([2.0, 3, 4, 1])).to_filename(
            tmp_path / "a.nii.gz"
        )
        stack = io.read(tmp_path / "a.nii.gz")
        labels = np.random.default_rng(0).integers(0, 3, stack.shape_zyx).astype(np.uint8)
        io.write(Masks.from_labels(labels), tmp_path / "m.nii.gz", stack)
        image = nibabel.load(tmp_path / "m.nii.gz")
        assert image.shape == shape
        np.testing.assert_array_equal(np.asarray(image.dataobj).ravel(order="F"), labels.ravel())
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.nii.gz", stack).labels, labels)

    @pytest.mark.parametrize(("top", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65535, "u2")])
    def test_the_type_is_as_small_as_the_labels_allow(
        self, top: int, dtype: str, tmp_path: Path
    ) -> None:
        labels = np.zeros((2, 3, 4), np.uint16)
        labels[1, 2, 3] = top
        io.write(Masks.from_labels(labels), tmp_path / "m.nii.gz")
        image = nibabel.load(tmp_path / "m.nii.gz")
        assert image.get_data_dtype() == np.dtype(dtype)
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, labels)

    def test_fractions_are_no_masks(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="whole numbers"):
            io.read_masks(make(tmp_path / "a.nii", DATA.astype(np.float32) / 7))

    def test_an_image_wider_than_a_first_version_header_takes_the_second(
        self, tmp_path: Path
    ) -> None:
        io.write(Masks((1, 2, 40000), {}, {}), tmp_path / "m.nii")
        assert isinstance(nibabel.load(tmp_path / "m.nii"), nibabel.Nifti2Image)
