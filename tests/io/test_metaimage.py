"""MetaImage: axes, headers and data files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.nrrd_files import DATA, RAS

from segscope import io
from segscope.errors import ReadError, UsageError, WriteError
from segscope.masks import Masks
from segscope.stack import Stack


class TestMetaImage:
    @pytest.mark.parametrize("field", ["LIST\n{names}", "LIST 2\n{names}", "s%02d.raw 0 4 1"])
    def test_data_in_several_files(self, field: str, tmp_path: Path) -> None:
        volume = np.random.default_rng(1).integers(0, 99, (5, 6, 7)).astype("<i2")
        for number, frame in enumerate(volume):
            (tmp_path / f"s{number:02d}.raw").write_bytes(b"head" + frame.tobytes())
        names = "\n".join(f"s{number:02d}.raw" for number in range(5))
        (tmp_path / "a.mhd").write_text(
            "NDims = 3\nDimSize = 7 6 5\nElementType = MET_SHORT\nHeaderSize = 4\n"
            f"ElementDataFile = {field.format(names=names)}\n"
        )
        stack = io.read(tmp_path / "a.mhd")
        np.testing.assert_array_equal([stack[index] for index in range(5)], volume)

    @pytest.mark.parametrize(
        ("field", "note"),
        [
            ("DistanceUnits = um", "DistanceUnits = um; millimetres are assumed"),
            ("ElementToIntensityFunctionSlope = 2", "2 x value + 0, which is not applied"),
            ("DistanceUnits = mm", ""),
        ],
    )
    def test_what_is_not_applied_is_noted(self, field: str, note: str, tmp_path: Path) -> None:
        text = f"NDims = 2\n{field}\nDimSize = 2 2\nElementType = MET_UCHAR\n"
        text += "ElementSpacing = 1 1\n"
        (tmp_path / "a.mha").write_bytes(f"{text}ElementDataFile = LOCAL\n".encode() + b"abcd")
        stack = io.read(tmp_path / "a.mha")
        assert note in " ".join(stack.meta["notes"])
        assert bool(stack.meta["notes"]) == bool(note)

    def test_a_file_without_spacing_is_noted(self, tmp_path: Path) -> None:
        text = "NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        (tmp_path / "a.mha").write_bytes(text.encode() + b"abcd")
        stack = io.read(tmp_path / "a.mha")
        assert stack.geometry is None
        assert "no usable voxel sizes" in stack.meta["notes"][0]

    def test_last_bytes_that_are_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.raw").write_bytes(b"abc")
        (tmp_path / "a.mhd").write_text(
            "NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nHeaderSize = -1\n"
            "ElementDataFile = a.raw\n"
        )
        with pytest.raises(ReadError, match="4 bytes of data are declared as its last"):
            io.read(tmp_path / "a.mhd")

    def test_four_axes_are_volumes(self, tmp_path: Path) -> None:
        several = np.random.default_rng(1).integers(0, 99, (3, 5, 6, 7)).astype("<i2")
        text = (
            "NDims = 4\nDimSize = 7 6 5 3\nElementSpacing = 0.5 0.6 3 1\nElementType = MET_SHORT\n"
        )
        text += "ElementDataFile = LOCAL\n"
        (tmp_path / "a.mha").write_bytes(text.encode() + several.tobytes())
        with pytest.raises(UsageError, match="3 volumes"):
            io.read(tmp_path / "a.mha")
        stack = io.read(tmp_path / "a.mha", volume=1)
        np.testing.assert_array_equal(stack[4], several[1, 4])
        assert stack.spacing_zyx_mm == (3.0, 0.6, 0.5)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (
                "NDims = 3\nDimSize = 60000 60000 60000\n"
                "ElementType = MET_UCHAR\nElementDataFile = LOCAL",
                "GiB",
            ),
            (
                "NDims = 3\nDimSize = 5 5\nElementType = MET_UCHAR\nElementDataFile = LOCAL",
                "one for each dimension",
            ),
            (
                "NDims = 2\nDimSize = 5 5\nElementType = MET_STRING\nElementDataFile = LOCAL",
                "MET_STRING",
            ),
            (
                "NDims = 2\nDimSize = 500 500\nElementType = MET_UCHAR\nElementDataFile = LOCAL",
                "cut off",
            ),
            (
                "NDims = 2\nDimSize = 5 5\nElementSpacing = 0 1\n"
                "ElementType = MET_UCHAR\nElementDataFile = LOCAL",
                "fit",
            ),
            (
                "NDims = 2\nDimSize = 5 5\nElementType = MET_UCHAR\nElementDataFile = LIST",
                "refers to its data as",
            ),
            (
                "NDims = 2\nBinaryData = False\nDimSize = 5 5\n"
                "ElementType = MET_UCHAR\nElementDataFile = LOCAL",
                "text",
            ),
            ("NDims = 2\nDimSize = 5 5", "complete"),
        ],
    )
    def test_headers_that_cannot_be(self, fields: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "a.mha").write_bytes(f"{fields}\n".encode() + bytes(64))
        with pytest.raises(ReadError, match=message):
            io.read(tmp_path / "a.mha")

    def test_the_data_file_of_another_header_is_never_replaced(self, tmp_path: Path) -> None:
        head = (
            "NDims = 3\nDimSize = 5 4 3\nElementSpacing = 1 1 1\n"
            "ElementType = MET_UCHAR\nElementDataFile = b.zraw\n"
        )
        (tmp_path / "scan.mhd").write_text(head)
        (tmp_path / "b.zraw").write_bytes(bytes(range(60)))
        masks = Masks.from_labels(np.ones((3, 4, 5), np.uint8))
        for _ in range(3):
            io.write(masks, tmp_path / "b.mhd", io.read(tmp_path / "scan.mhd"))
        assert (tmp_path / "b.zraw").read_bytes() == bytes(range(60))
        assert io.read_masks(tmp_path / "b.mhd").labels.all()
        assert len(list(tmp_path.glob("b*.zraw"))) == 2

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt])
    @pytest.mark.parametrize("after", [False, True])
    def test_whatever_stops_it_the_pair_fits(
        self,
        error: BaseException,
        after: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = tmp_path / "m.mhd"
        io.write(Masks.from_labels(np.ones((3, 4, 5), np.uint8)), path)
        replace = Path.replace

        def stop(self: Path, target: Path) -> None:
            if target.suffix != ".mhd":
                replace(self, target)
                return
            if after:
                replace(self, target)
            raise error

        monkeypatch.setattr(Path, "replace", stop)
        with pytest.raises((WriteError, KeyboardInterrupt)):
            io.write(Masks.from_labels(np.full((3, 4, 5), 2, np.uint8)), path)
        assert (io.read_masks(path).labels == 1 + after).all()
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_header_and_its_data_travel_together(self, tmp_path: Path) -> None:
        labels = (DATA > 0).astype(np.uint8).T
        io.write(
            Masks.from_labels(labels),
            tmp_path / "m.mhd",
            Stack.from_array(labels, affine=RAS, channels=False),
        )
        assert {file.name for file in tmp_path.iterdir()} == {"m.mhd", "m.zraw"}
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.mhd").labels, labels)
