"""Label names in NIfTI header extensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension
from support.nifti_files import AFFINE

from segscope import io
from segscope.io.datasets.dataset import Case, GroundTruth
from segscope.io.datasets.reading import read_image, read_target

LABELS = np.zeros((7, 6, 5), np.uint8)
LABELS[1:3, 2:4, 1:3] = 5
LABELS[4:6, 1:3, 2:4] = 9


def table(*labels: tuple[int, str], text: str = "") -> bytes:
    """A label table as TotalSegmentator writes it."""
    rows = "".join(
        f'<Label Key="{key}" Red="1.0" Green="0.0" Blue="0.0"><![CDATA[{name}]]></Label>\n'
        for key, name in labels
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{text} <CaretExtension>  <Date>'
        '<![CDATA[2013-07-14T05:45:09]]></Date>   <VolumeInformation Index="0">   <LabelTable>\n'
        f"{rows}\n  </LabelTable>  <StudyMetaDataLinkSet>  </StudyMetaDataLinkSet>  <VolumeType>"
        "<![CDATA[Label]]></VolumeType>   </VolumeInformation></CaretExtension>\n            "
    ).encode()


def make(path: Path, *contents: bytes, kind: Any = nibabel.Nifti1Image, code: int = 0) -> Path:
    image = kind(LABELS, AFFINE)
    for content in contents:
        image.header.extensions.append(Nifti1Extension(code, content))
    nibabel.save(image, path)
    return path


class TestLabelTable:
    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    @pytest.mark.parametrize("code", [0, 30])
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_its_names_are_those_of_the_objects(
        self, name: str, code: int, kind: Any, tmp_path: Path
    ) -> None:
        labels = table((0, "???"), (5, "spleen & co"), (9, "niere_rechts_ä"), (10, "elsewhere"))
        path = make(tmp_path / name, b"a comment", labels, kind=kind, code=code)
        assert io.read_masks(path).names == {5: "spleen & co", 9: "niere_rechts_ä"}

    def test_it_may_lie_in_the_header_of_a_pair(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.hdr", table((5, "spleen")), kind=nibabel.Nifti1Pair)
        assert io.read_masks(path).names == {5: "spleen", 9: ""}

    @pytest.mark.parametrize(
        "content",
        [
            b"<LabelTable><Label Key='5'>",
            b"<LabelTable><Label Key='x'>spleen</Label></LabelTable>",
            table((5, "spleen"), text='<!DOCTYPE x [<!ENTITY y "zzz">]>'),
        ],
    )
    def test_a_damaged_one_is_a_warning(
        self, content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        masks = io.read_masks(make(tmp_path / "a.nii.gz", content))
        assert masks.names == {5: "", 9: ""}
        assert "table of label names is damaged" in caplog.text


class TestExtensions:
    @pytest.mark.parametrize("size", [8, 160, 170, 200, 1000, 50_000, 3_000_000])
    def test_their_size_does_not_matter(self, size: int, tmp_path: Path) -> None:
        path = make(tmp_path / "a.nii.gz", b"<x>" + b"y" * size)
        scan = io.read(path)
        np.testing.assert_array_equal(scan[2], LABELS[..., 2].T)
        np.testing.assert_array_equal(io.read_masks(path, scan).labels, LABELS.T)

    def test_a_flag_without_an_extension_is_ignored(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.nii")
        raw = bytearray(path.read_bytes())
        raw[348] = 1
        path.write_bytes(raw)
        np.testing.assert_array_equal(io.read_masks(path).labels, LABELS.T)

    def test_they_are_read_as_ground_truth_of_a_data_set(self, tmp_path: Path) -> None:
        path = make(tmp_path / "a.nii.gz", table((5, "spleen"), (9, "kidney")))
        case = Case("one", path, ())
        target = GroundTruth(path, "semantic", {})
        assert read_target(target, read_image(case)).names == {5: "spleen", 9: "kidney"}
