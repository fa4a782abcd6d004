"""NRRD and MetaImage: orientation, encodings, detached data, and segments as 3D Slicer has them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.masks import Masks
from segscope.overlay import colour_of
from segscope.stack import Stack

RAS = np.array(
    [[-0.7, 0.1, 0.2, 12.0], [0.05, 0.8, -0.3, -30.0], [0.1, 0.2, 2.5, 7.0], [0, 0, 0, 1]]
)
DATA = np.random.default_rng(0).integers(-900, 900, (7, 6, 5)).astype(np.int16)


def make(
    path: Path, data: np.ndarray = DATA, affine: np.ndarray | None = None, **header: object
) -> Path:
    """A file by pynrrd; `affine` in the space that the header names."""
    if affine is not None:
        directions = affine[:3, :3].T
        extra = data.ndim - 3
        nan = np.full((extra, 3), np.nan)
        first = extra and header.get("kinds", ["domain"])[0] != "domain"
        header["space directions"] = np.vstack([nan, directions] if first else [directions, nan])
        header["space origin"] = affine[:3, 3]
    nrrd.write(str(path), data, header)
    return path


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
        assert io.read(make(tmp_path / "b.nrrd")).geometry is None

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

    def test_two_axes_are_a_image(self, tmp_path: Path) -> None:
        stack = io.read(make(tmp_path / "a.nrrd", DATA[..., 0], spacings=[0.5, 0.25]))
        assert stack.kind == "image"
        assert stack.spacing_zyx_mm == (1.0, 0.25, 0.5)
        np.testing.assert_array_equal(stack[0], DATA[..., 0].T)


class TestData:
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
    @pytest.mark.parametrize("endian", ["little", "big"])
    def test_encodings(self, encoding: str, endian: str, tmp_path: Path) -> None:
        for dtype in ("i2", "f4", "u1", "f8"):
            data = DATA.astype(dtype)
            stack = io.read(make(tmp_path / "a.nrrd", data, encoding=encoding, endian=endian))
            np.testing.assert_array_equal(stack[4], data[..., 4].T)

    def test_detached_data(self, tmp_path: Path) -> None:
        make(tmp_path / "a.nhdr", encoding="gzip")
        np.testing.assert_array_equal(io.read(tmp_path / "a.nhdr")[1], DATA[..., 1].T)
        next(tmp_path.glob("a.raw*")).unlink()
        with pytest.raises(ReadError, match="not there"):
            io.read(tmp_path / "a.nhdr")

    @pytest.mark.parametrize(
        "name", ["../secret.raw", "/elsewhere/secret.raw", "sub/../../secret.raw"]
    )
    def test_data_outside_the_folder_are_refused(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "secret.raw").write_bytes(bytes(100))
        nhdr = (
            f"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\nencoding: raw\ndata file: {name}\n"
        )
        mhd = f"NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
        for file, text in (("a.nhdr", nhdr), ("a.mhd", mhd)):
            (tmp_path / "in" / file).write_text(text)
            with pytest.raises(ReadError, match="outside its own folder"):
                io.read(tmp_path / "in" / file)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("type: uchar\ndimension: 3\nsizes: 60000 60000 60000\nencoding: gzip", "GiB"),
            ("type: uchar\ndimension: 3\nsizes: 9 9\nencoding: raw", "damaged"),
            ("type: uchar\ndimension: 2\nsizes: 0 9\nencoding: raw", "damaged"),
            ("type: uchar\ndimension: 2\nsizes: -5 9\nencoding: raw", "damaged"),
            ("type: block\ndimension: 2\nsizes: 5 9\nencoding: raw", "block"),
            ("type: short\ndimension: 2\nsizes: 5 9\nencoding: raw", "byte order"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: hex", "hex"),
            ("type: uchar\ndimension: 2\nsizes: 5 9", "without 'encoding'"),
            ("type: uchar\ndimension: 2\nsizes: 500 900\nencoding: raw", "cut off"),
            ("type: uchar\ndimension: 2\nsizes: 500 900\nencoding: gzip", "cut off"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: raw\ndata file: LIST", "several files"),
            ("type: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspace: LPS\n"
             "space directions: (1,0,0) (1,0,0) (0,0,1)", "singular"),
        ],
    )  # fmt: skip
    def test_headers_that_cannot_be(self, header: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "a.nrrd").write_bytes(f"NRRD0004\n{header}\n\n".encode() + bytes(64))
        with pytest.raises(ReadError, match=message):
            io.read(tmp_path / "a.nrrd")


class TestSegments:
    HEADER = ("NRRD0004\ntype: unsigned char\ndimension: {dimension}\nspace: left-posterior-superior\n"
              "sizes: {sizes}\nspace directions: {none}(1,0,0) (0,1,0) (0,0,2)\nkinds: {kinds}domain domain domain\n"
              "encoding: gzip\nspace origin: (1,2,3)\n")  # fmt: skip

    def test_a_file_as_slicer_writes_it(self, tmp_path: Path) -> None:
        """Two segments share layer 0, a third overlaps them in layer 1 and uses a label value a second time."""
        layers = np.zeros((2, 3, 4, 5), np.uint8)  # (layer, frame, row, column)
        layers[0, 0, :2], layers[0, 1, 2:], layers[1, :, :, 3] = 1, 2, 1
        pairs = "".join(
            f"Segment{n}_ID:=Segment_{n + 1}\nSegment{n}_Name:={name}\nSegment{n}_LabelValue:={value}\n"
            f"Segment{n}_Layer:={layer}\nSegment{n}_Color:=0.5 0.6 0.1\nSegment{n}_Extent:=0 4 0 3 0 2\n"
            f"Segment{n}_Tags:=TerminologyEntry:Segmentation category~SCT^85756007^Tissue|\n"
            for n, (name, value, layer) in enumerate(
                [("liver: left", 1, 0), ("tumour", 2, 0), ("vessel", 1, 1)]
            )
        )
        text = self.HEADER.format(dimension=4, sizes="2 5 4 3", none="none ", kinds="list ") + pairs
        data = gzip.compress(np.ascontiguousarray(layers.transpose(1, 2, 3, 0)).tobytes())
        (tmp_path / "a.seg.nrrd").write_bytes(text.encode() + b"\n" + data)
        masks = io.read_masks(tmp_path / "a.seg.nrrd")
        assert masks.names == {1: "liver: left", 2: "tumour", 3: "vessel"}
        np.testing.assert_array_equal(masks.of(1), layers[0] == 1)
        np.testing.assert_array_equal(masks.of(2), layers[0] == 2)
        np.testing.assert_array_equal(masks.of(3), layers[1] == 1)
        np.testing.assert_allclose(
            masks.geometry.affine,
            LPS_TO_RAS @ [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]],
        )

    def test_colours_and_codes_are_written(self, tmp_path: Path) -> None:
        labels = np.zeros((3, 4, 5), np.uint8)
        labels[0, 0], labels[1, 1] = 1, 2
        masks = Masks.from_labels(labels, names={1: "liver"})
        code = {"scheme": "SCT", "value": "52988006", "meaning": "Lesion"}
        masks = replace(masks, about={2: {"colour": "#ff0033", "code": code}})
        io.write(masks, tmp_path / "a.seg.nrrd")
        text = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
        red, green, blue = (f"{value / 255:.6g}" for value in colour_of(1))
        assert f"Segment0_Color:={red} {green} {blue}\n" in text
        assert "Segment0_ColorAutoGenerated:=1" in text
        assert "Segment1_Color:=1 0 0.2\n" in text
        assert "Segment1_ColorAutoGenerated:=0" in text
        assert "~SCT^91723000^Anatomical Structure~SCT^10200004^Liver~" in text
        assert "~SCT^49755003^Morphologically Abnormal Structure~SCT^52988006^Lesion~" in text

    def test_a_file_from_before_layers(self, tmp_path: Path) -> None:
        layers = np.zeros((2, 3, 4, 5), np.uint8)
        layers[0, 0], layers[1, 1] = 1, 1
        text = self.HEADER.format(dimension=4, sizes="2 5 4 3", none="none ", kinds="list ")
        text += "Segment0_ID:=a\nSegment0_Name:=first\nSegment1_ID:=b\nSegment1_Name:=second\n"
        data = gzip.compress(np.ascontiguousarray(layers.transpose(1, 2, 3, 0)).tobytes())
        (tmp_path / "a.seg.nrrd").write_bytes(text.encode() + b"\n" + data)
        masks = io.read_masks(tmp_path / "a.seg.nrrd")
        assert masks.names == {1: "first", 2: "second"}
        np.testing.assert_array_equal(masks.of(2), layers[1] == 1)

    def test_what_slicer_looks_for_is_written(self, tmp_path: Path) -> None:
        labels = np.zeros((3, 4, 5), np.uint8)
        labels[0, 0], labels[1, 1] = 1, 7
        io.write(
            Masks.from_labels(labels, names={1: "liver", 7: ""}, geometry=Geometry(RAS)),
            tmp_path / "m.seg.nrrd",
        )
        data, header = nrrd.read(str(tmp_path / "m.seg.nrrd"))
        assert header["Segment0_Name"] == "liver"
        assert header["Segment1_Name"] == "object 7"
        assert (header["Segment0_LabelValue"], header["Segment1_LabelValue"]) == ("1", "7")
        assert header["Segment0_Layer"] == "0"
        assert header["Segment0_Extent"] == "0 4 0 3 0 2"
        assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"
        assert len([float(value) for value in header["Segment0_Color"].split()]) == 3
        np.testing.assert_array_equal(data.T, labels)

    def test_a_segment_in_a_missing_layer_is_refused(self, tmp_path: Path) -> None:
        text = self.HEADER.format(dimension=3, sizes="5 4 3", none="", kinds="")
        text += "Segment0_Name:=x\nSegment0_LabelValue:=1\nSegment0_Layer:=4\n"
        (tmp_path / "a.seg.nrrd").write_bytes(text.encode() + b"\n" + gzip.compress(bytes(60)))
        with pytest.raises(ReadError, match="layer"):
            io.read_masks(tmp_path / "a.seg.nrrd")


class TestMetaImage:
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
                "NDims = 3\nDimSize = 60000 60000 60000\nElementType = MET_UCHAR\nElementDataFile = LOCAL",
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
                "NDims = 2\nDimSize = 5 5\nElementSpacing = 0 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL",
                "fit",
            ),
            (
                "NDims = 2\nDimSize = 5 5\nElementType = MET_UCHAR\nElementDataFile = LIST",
                "several files",
            ),
            (
                "NDims = 2\nBinaryData = False\nDimSize = 5 5\nElementType = MET_UCHAR\nElementDataFile = LOCAL",
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
        head = "NDims = 3\nDimSize = 5 4 3\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = b.zraw\n"
        (tmp_path / "scan.mhd").write_text(head)
        (tmp_path / "b.zraw").write_bytes(bytes(range(60)))
        masks = Masks.from_labels(np.ones((3, 4, 5), np.uint8))
        with pytest.raises(UsageError, match=r"b\.zraw exists already"):
            io.write(masks, tmp_path / "b.mhd", io.read(tmp_path / "scan.mhd"))
        assert (tmp_path / "b.zraw").read_bytes() == bytes(range(60))
        for _ in range(2):  # its own it may replace
            io.write(masks, tmp_path / "c.mhd")

    def test_a_header_and_its_data_travel_together(self, tmp_path: Path) -> None:
        labels = (DATA > 0).astype(np.uint8).T
        io.write(
            Masks.from_labels(labels),
            tmp_path / "m.mhd",
            Stack.from_array(labels, affine=RAS, channels=False),
        )
        assert {file.name for file in tmp_path.iterdir()} == {"m.mhd", "m.zraw"}
        np.testing.assert_array_equal(io.read_masks(tmp_path / "m.mhd").labels, labels)
