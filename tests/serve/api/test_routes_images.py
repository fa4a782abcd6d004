"""Images and their pixels."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import segscope as ss

from ..conftest import BASE, Server

BOX = [20, 20, 40, 40]


def array(answer: Any) -> np.ndarray:
    about = json.loads(answer.headers["X-Array"])
    return np.frombuffer(answer.content, about["dtype"]).reshape(about["shape"])


class TestImages:
    def test_a_reference_and_an_upload_of_the_same_bytes_are_one(
        self, server: Server, scans: Path
    ) -> None:
        image_id = server.image()
        with (scans / "ct.nii.gz").open("rb") as file:
            answer = server.http.post("/v1/images", files={"file": ("other name.nii.gz", file)})
        assert answer.status_code == 201
        assert answer.json()["image_id"] == image_id
        assert len(server.http.get("/v1/images").json()) == 1
        (case,) = server.http.get("/v1/cases").json()
        assert (case["image_id"], case["state"]) == (image_id, "todo")

    def test_an_upload_becomes_a_case(self, server: Server, scans: Path) -> None:
        data = (scans / "ct.nii.gz").read_bytes()
        image = server.http.post("/v1/images", files={"file": ("ct.nii.gz", data)}).json()
        (case,) = server.http.get("/v1/cases").json()
        assert case["image_id"] == image["image_id"]

    def test_an_upload_of_more_than_a_thousand_files(self, server: Server) -> None:
        frame = io.BytesIO()
        Image.new("L", (8, 8)).save(frame, "PNG")
        files = [("file", (f"{number:04}.png", frame.getvalue())) for number in range(1001)]
        answer = server.http.post("/v1/images", files=files)
        assert answer.status_code == 201, answer.text
        assert answer.json()["shape_zyx"] == [1001, 8, 8]

    def test_what_is_told_of_a_volume(self, server: Server) -> None:
        about = server.http.get(f"/v1/images/{server.image()}").json()
        assert about["shape_zyx"] == [7, 60, 80]
        assert about["spacing_zyx_mm"] == pytest.approx([2.5, 0.8, 0.7])
        assert about["kind"] == "volume"

    def test_pixels(self, server: Server, scans: Path) -> None:
        stack = ss.read(scans / "ct.nii.gz")
        base = f"/v1/images/{server.image()}"
        assert np.array_equal(array(server.http.get(f"{base}/raw/3")), stack[3])
        whole = np.stack([stack[i] for i in range(len(stack))])
        assert np.array_equal(array(server.http.get(f"{base}/volume")), whole)
        assert np.array_equal(array(server.http.get(f"{base}/volume?step=2")), whole[::2, ::2, ::2])
        assert np.array_equal(array(server.http.get(f"{base}/raw/5?axis=1")), whole[:, 5])
        shown = Image.open(io.BytesIO(server.http.get(f"{base}/frames/3?window=400,40").content))
        assert np.array_equal(np.asarray(shown), ss.Renderer(stack, "400,40")[3][..., 0])
        for kind in ("jpeg", "webp"):
            answer = server.http.get(f"{base}/frames/3?format={kind}")
            assert answer.headers["content-type"] == f"image/{kind}"
            assert Image.open(io.BytesIO(answer.content)).size == (80, 60)
        assert (
            Image.open(io.BytesIO(server.http.get(f"{base}/thumbnail?size=32").content)).width == 32
        )

    def test_arrays_are_packed_for_other_machines_only(self, server: Server) -> None:
        path = f"/v1/images/{server.image()}/volume"
        here = TestClient(
            server.app, base_url=BASE, client=("127.0.0.1", 5000), headers=server.http.headers
        )
        assert server.http.get(path).headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in here.get(path).headers
        assert (
            here.get(path, headers={"X-Forwarded-For": "10.0.0.7"}).headers["Content-Encoding"]
            == "gzip"
        )
        assert here.get(path).content == server.http.get(path).content

    def test_an_uploaded_scan_is_decoded_elsewhere_and_gives_the_same(
        self, server: Server, tmp_path: Path
    ) -> None:
        values = np.arange(5 * 6 * 4, dtype=np.int16).reshape(5, 6, 4)
        path = tmp_path / "up.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0])), path)
        answer = server.http.post("/v1/images", files={"file": ("up.nii.gz", path.read_bytes())})
        image_id = answer.json()["image_id"]
        stack = server.workspace.images.stack(image_id)
        assert type(stack.source).__name__ == "SandboxedFrames"
        assert np.array_equal(array(server.http.get(f"/v1/images/{image_id}/volume")), values.T)

    def test_several_files_and_a_zip_are_one_stack(self, server: Server, inputs: Any) -> None:
        series = sorted(Path(inputs.series).iterdir())
        files = [("file", (path.name, path.read_bytes())) for path in series]
        first = server.http.post("/v1/images", files=files)
        assert first.status_code == 201, first.text
        assert first.json()["shape_zyx"][0] == 3
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in series:
                archive.write(path, f"study/{path.name}")
        second = server.http.post("/v1/images", files={"file": ("study.zip", packed.getvalue())})
        assert second.json()["shape_zyx"] == first.json()["shape_zyx"]
        session = server.http.post(
            "/v1/sessions", json={"image_id": first.json()["image_id"]}
        ).json()
        server.session_id, server.headers["X-Lease"] = session["session_id"], session["lease"]
        server.do("predict", frame=1, boxes=[[30, 30, 70, 70]])
        for name in ("dicom-seg", "rtstruct"):
            answer = server.http.get(f"/v1/sessions/{server.session_id}/export?format={name}")
            assert answer.status_code == 200, answer.text
            assert answer.content[128:132] == b"DICM"

    def test_folders_below_a_root_are_listed(self, server: Server) -> None:
        rows = server.http.get("/v1/roots/0/files").json()
        assert rows == [
            {"name": "cells.png", "path": "cells.png", "kind": "image"},
            {"name": "clip", "path": "clip", "kind": "folder"},
            {"name": "ct.nii.gz", "path": "ct.nii.gz", "kind": "image"},
        ]
        assert len(server.http.get("/v1/roots/0/files?path=clip").json()) == 3

    def test_a_file_that_changed_is_noticed(
        self, serve: Callable[..., Server], tmp_path: Path
    ) -> None:
        root = tmp_path / "root"
        root.mkdir()
        Image.new("L", (20, 20), 9).save(root / "a.png")
        server = serve(roots=(root,))
        image_id = server.image("a.png")
        Image.new("L", (20, 20), 8).save(root / "a.png")
        server = serve(roots=(root,))
        answer = server.http.get(f"/v1/images/{image_id}/frames/0")
        assert answer.status_code == 422
        assert "was changed" in answer.json()["detail"]
