"""Sessions: opening, labels, exports."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segscope as ss

from ..conftest import Server

BOX = [20, 20, 40, 40]


def array(answer: Any) -> np.ndarray:
    about = json.loads(answer.headers["X-Array"])
    return np.frombuffer(answer.content, about["dtype"]).reshape(about["shape"])


class TestExport:
    @pytest.mark.parametrize("name", ["nifti", "nrrd", "nrrd-seg", "mha", "tiff", "npz", "coco"])
    def test_it_equals_what_was_shown(
        self, server: Server, tmp_path: Path, scans: Path, name: str
    ) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.do("predict", frame=3, object_id=2, boxes=[[30, 30, 60, 50]])
        shown = server.labels()
        answer = server.http.get(f"/v1/sessions/{server.session_id}/export?format={name}")
        path = tmp_path / answer.headers["content-disposition"].split('"')[1]
        path.write_bytes(answer.content)
        assert np.array_equal(ss.read_masks(path, like=ss.read(scans / "ct.nii.gz")).labels, shown)

    def test_images_in_a_zip(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        answer = server.http.get(f"/v1/sessions/{server.session_id}/export?format=png")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
            assert len(names) == 7
            assert np.array_equal(
                np.asarray(Image.open(archive.open(names[3]))), server.labels()[3]
            )

    def test_some_objects_only(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.do("predict", frame=3, object_id=2, boxes=[[55, 10, 70, 25]])
        base = f"/v1/sessions/{server.session_id}/export"
        answer = server.http.get(f"{base}?format=coco&objects=2")
        (row,) = answer.json()["annotations"]
        assert row["bbox"][0] >= 50
        assert server.http.get(f"{base}?objects=7").status_code == 404
        assert server.http.get(f"{base}?objects=x").status_code == 422
        answer = server.http.get(f"{base}?format=dicom-seg")
        assert answer.status_code == 422
        assert "DICOM" in answer.json()["detail"]

    def test_the_log_makes_the_masks_again(
        self, server: Server, tmp_path: Path, scans: Path, engine: Any
    ) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.propagate()
        path = tmp_path / "log.jsonl"
        path.write_bytes(server.http.get(f"/v1/sessions/{server.session_id}/log").content)
        with ss.Interaction.resume(path, ss.read(scans / "ct.nii.gz"), engine) as work:
            assert np.array_equal(work.masks().labels, server.labels())

    def test_labels_along_another_axis(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.propagate()
        whole = server.labels()
        base = f"/v1/sessions/{server.session_id}/labels"
        assert np.array_equal(array(server.http.get(f"{base}?frame=30&axis=1")), whole[:, 30])
        assert np.array_equal(array(server.http.get(f"{base}?frame=30&axis=2")), whole[:, :, 30])
        assert np.array_equal(array(server.http.get(f"{base}?frame=3")), whole[3])
        assert server.http.get(f"{base}?frame=99&axis=1").status_code == 422


def test_a_session_along_another_axis(server: Server, scans: Path) -> None:
    server.open(axis=1)
    server.do("predict", frame=30, boxes=[[20, 1, 40, 6]])
    state = server.ask("GET", "/state")
    assert (state["frames"], state["size_hw"]) == (60, [7, 80])
    answer = server.http.get(f"/v1/sessions/{server.session_id}/export?format=npz")
    assert answer.status_code == 200


def test_another_model_may_start_from_the_masks(server: Server) -> None:
    first = server.open()
    server.do("predict", frame=3, boxes=[BOX])
    server.ask("PATCH", "/objects/1", {"label": "block", "colour": "#123456"})
    labels = server.labels()
    second = server.open(start_from=first)
    assert second != first
    assert np.array_equal(server.labels(), labels)
    row = server.ask("GET", "/state")["objects"][0]
    assert (row["label"], row["colour"]) == ("block", "#123456")
