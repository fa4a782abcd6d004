"""What is exported is what was shown: voxels, colours and codes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data import data_folder
from support.dicom_files import along, normal_of, oblique, write_series

from segscope import io
from segscope.overlay import PALETTE, colour_of

from ..conftest import Server

pydicom = pytest.importorskip("pydicom")
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(params=["oblique", "real"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with one CT series."""
    folder = tmp_path / "scans" / "ct"
    if request.param == "real":
        shutil.copytree(data_folder("dicom_ct_liver") / "ct", folder)
        return folder
    pixels = np.random.default_rng(1).integers(-60, 60, (8, 48, 64)).astype(np.int16)
    pixels[1:7, 12:30, 20:44] += 250
    return write_series(folder, along(normal_of(oblique()) * 2.5, 8), oblique(), pixels=pixels)


def valid(path: Path) -> None:
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    assert not [
        line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")
    ]


def annotated(server: Server) -> Any:
    """Two objects that overlap, carried, corrected and painted, with a colour and a code."""
    server.open("ct")
    frames, (rows, columns) = len(server.labels()), server.labels().shape[1:]
    middle = frames // 2
    server.do(
        "predict",
        frame=middle,
        object_id=1,
        boxes=[[columns * 0.3, rows * 0.2, columns * 0.7, rows * 0.6]],
    )
    server.do(
        "predict",
        frame=middle,
        object_id=2,
        boxes=[[columns * 0.5, rows * 0.4, columns * 0.9, rows * 0.8]],
    )
    server.propagate(rules=None)
    stroke = {"xy": [[columns * 0.1, rows * 0.9], [columns * 0.6, rows * 0.3]], "width": 4}
    server.do("paint", frame=0, object_id=5, strokes=[stroke])
    code = {"scheme": "SCT", "value": "52988006", "meaning": "Lesion"}
    server.ask("PATCH", "/objects/2", {"label": "focus", "colour": "#3060c0", "code": code})
    shown = server.labels()
    assert len(np.unique(shown)) == 4
    return shown


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct", "nrrd-seg", "nifti"])
def test_exports_hold_the_voxels_that_were_shown(
    serve: Callable[..., Server], series: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "dicom-seg":
        pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    server = serve(roots=(series.parent,))
    shown = annotated(server)
    answer = server.http.get(f"/v1/sessions/{server.session_id}/export?format={kind}")
    assert answer.status_code == 200, answer.text
    name = re.findall('filename="(.*)"', answer.headers["Content-Disposition"])[0]
    path = tmp_path / name
    path.write_bytes(answer.content)
    found = io.read_masks(path, like=io.read(series))
    assert np.array_equal(found.labels, shown)
    if kind in ("dicom-seg", "rtstruct"):
        data = pydicom.dcmread(path)
        if kind == "rtstruct":
            assert [tuple(roi.ROIDisplayColor) for roi in data.ROIContourSequence] == [
                colour_of(1),
                (0x30, 0x60, 0xC0),
                colour_of(5),
            ]
        else:
            assert [
                segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
                for segment in data.SegmentSequence
            ][1] == ("52988006")
            assert "RecommendedDisplayCIELabValue" in data.SegmentSequence[0]
        valid(path)


def test_objects_have_the_colours_of_overlays(server: Server) -> None:
    server.open()
    answer = server.do("objects", 201)
    assert answer["objects"][0]["colour"] == "#{:02x}{:02x}{:02x}".format(*colour_of(1))


def test_the_page_has_the_same_colours() -> None:
    text = (REPOSITORY / "ui" / "src" / "palette.ts").read_text(encoding="utf-8")
    listed = text[text.index("PALETTE") : text.index("POSITIVE")]
    found = [tuple(map(int, rgb)) for rgb in re.findall(r"\[(\d+), (\d+), (\d+)\]", listed)]
    assert tuple(found) == PALETTE
