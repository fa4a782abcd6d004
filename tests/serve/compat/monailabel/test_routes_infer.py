"""MONAI Label's protocol as 3D Slicer, OHIF, CVAT and QuPath speak it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from support.monailabel_client import MonaiClient, nrrd_of, parts_of

import segscope as ss

from ...conftest import TOKEN, Server

ROI = [40, 20, 20, 40, 1, 5]  # pairs by axis, not in order


def block() -> np.ndarray:
    found = np.zeros((7, 60, 80), bool)
    found[1:6, 20:40, 20:40] = True
    return found


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def sent(monai: MonaiClient, scans: Path) -> str:
    files = [("files", ("ct.nii.gz", (scans / "ct.nii.gz").read_bytes()))]
    return str(
        monai.ask("PUT", "/session/", params={"expiry": 99999}, files=files).json()["session_id"]
    )


class TestAsSlicerDoes:
    def test_a_whole_session(self, monai: MonaiClient, scans: Path) -> None:
        monai.server.http.headers.pop("Authorization")
        monai.ask("GET", "/auth/", 404)
        info = monai.ask("GET", "/info/").json()
        assert "config" not in info
        assert isinstance(info["labels"], list)
        for name, model in info["models"].items():
            assert model["type"] == "deepgrow"
            assert name.endswith(f"_{model['dimension']}d")
            assert model["labels"]
            assert model["description"]
        session = sent(monai, scans)
        told = monai.ask("GET", f"/session/{session}?update_ts=true").json()
        assert told["expiry"] == 3600
        assert set(told) == {
            "name",
            "path",
            "image",
            "meta",
            "create_ts",
            "last_access_ts",
            "expiry",
        }
        assert "/" not in told["path"]
        params = {
            "label": "tumour",
            "foreground": [[30, 30, 3]],
            "background": [[5, 5, 3]],
            "slice": 3,
            "reset_state": True,
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
            "client_id": "me",
        }
        said, labels = monai.infer("mini_2d", params, session_id=session, output="none")
        assert said["label_names"] == {"tumour": 1}
        assert labels.shape == (7, 60, 80)
        assert labels.dtype == np.uint8
        assert set(np.flatnonzero(labels.any(axis=(1, 2)))) == {3}
        assert iou(labels[3] > 0, block()[3]) > 0.5
        monai.ask("GET", "/train/?check_if_running=true", 404)
        assert monai.ask("DELETE", f"/session/{session}").json()["name"] == session
        monai.ask("GET", f"/session/{session}", 404)
        monai.ask("POST", f"/infer/mini_2d?session_id={session}", 404, data={"params": "{}"})

    def test_a_box_through_the_volume(self, monai: MonaiClient, scans: Path) -> None:
        session = sent(monai, scans)
        _, labels = monai.infer("mini_3d", {"roi": ROI}, session_id=session)
        assert iou(labels > 0, block()) > 0.7
        _, labels = monai.infer(
            "mini_3d", {"foreground": [[30, 30, 3], [30, 30, 2]]}, session_id=session
        )
        assert (labels > 0).any(axis=(1, 2)).sum() > 2

    def test_without_prompts_an_empty_mask_comes_back(
        self, monai: MonaiClient, scans: Path
    ) -> None:
        _, labels = monai.infer(
            "mini_3d", {"foreground": [], "background": []}, session_id=sent(monai, scans)
        )
        assert labels.shape == (7, 60, 80)
        assert not labels.any()

    def test_a_background_click_alone_marks_nothing(self, monai: MonaiClient, scans: Path) -> None:
        params = {"foreground": [], "background": [[30, 30, 3]], "slice": 3}
        session = sent(monai, scans)
        for model in ("mini_2d", "mini_3d"):
            _, labels = monai.infer(model, params, session_id=session)
            assert not labels.any()

    def test_the_mask_lies_on_the_scan(
        self, monai: MonaiClient, scans: Path, tmp_path: Path
    ) -> None:
        answer = monai.ask(
            "POST",
            "/infer/mini_3d",
            params={"session_id": sent(monai, scans), "output": "image"},
            data={"params": json.dumps({"roi": ROI, "result_extension": ".nii.gz"})},
        )
        path = tmp_path / "m.nii.gz"
        path.write_bytes(answer.content)
        assert np.array_equal(
            ss.read(path).geometry.affine, ss.read(scans / "ct.nii.gz").geometry.affine
        )  # type: ignore[union-attr]


class TestOthers:
    def test_ohif_gets_plain_nrrd_of_a_series(self, monai: MonaiClient, inputs: Any) -> None:
        files = [
            ("files", (path.name, path.read_bytes()))
            for path in sorted(Path(inputs.series).iterdir())
        ]
        monai.ask("PUT", "/session/", files=files)
        uid = monai.server.workspace.images.stack(
            monai.server.http.get("/v1/images").json()[0]["image_id"]
        ).meta["series_uid"]
        params = {
            "roi": [30, 70, 30, 70, 0, 2],
            "result_compress": False,
            "restore_label_idx": False,
        }
        answer = monai.ask(
            "POST",
            "/infer/mini_3d",
            params={"image": uid, "output": "image"},
            data={"params": json.dumps(params)},
        )
        assert b"encoding: raw" in answer.content[:400]
        assert nrrd_of(answer.content).any()
        params["label_info"] = [{"name": "liver", "idx": 1}]
        answer = monai.ask(
            "POST",
            "/infer/mini_3d",
            params={"image": uid, "output": "dicom_seg"},
            data={"params": json.dumps(params)},
        )
        assert answer.headers["content-type"] == "application/dicom"
        assert answer.content[128:132] == b"DICM"

    def test_cvat_sends_corners(self, monai: MonaiClient, scans: Path) -> None:
        answer = monai.ask(
            "POST",
            "/infer/mini_2d",
            files={"file": ("cells.png", (scans / "cells.png").read_bytes())},
            data={"params": json.dumps({"roi": [20, 10, 50, 30]})},
        )
        labels = nrrd_of(parts_of(answer)["image"][1])
        truth = np.zeros((64, 96), bool)
        truth[10:30, 20:50] = True
        assert iou(labels.reshape(64, 96) > 0, truth) > 0.6

    def test_qupath_gets_polygons(self, monai: MonaiClient, scans: Path) -> None:
        data = (scans / "cells.png").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        monai.ask("HEAD", "/datastore/image", 404, params={"image": "cells"})
        body = {
            "location": [100, 200],
            "size": [96, 64],
            "params": {"foreground": [[35, 20]], "background": []},
        }
        answer = monai.ask(
            "POST",
            "/infer/wsi_v2/mini_2d?output=asap",
            files={"file": ("patch.png", data)},
            data={"wsi": json.dumps(body)},
        )
        root = ElementTree.fromstring(answer.content)
        places = [(float(c.get("X")), float(c.get("Y"))) for c in root.iter("Coordinate")]  # type: ignore[arg-type]
        assert places
        assert min(x for x, _ in places) >= 100
        assert min(y for _, y in places) >= 200
        assert root.find("AnnotationGroups/Group") is not None
        monai.ask("PUT", "/datastore/", files={"file": ("cells.png", data)})
        monai.ask(
            "HEAD", "/datastore/image", params={"image": "cells", "check_sum": f"SHA256:{digest}"}
        )
        monai.ask(
            "HEAD", "/datastore/image", 404, params={"image": "cells", "check_sum": "SHA256:00"}
        )
        box = {"location": [20, 10], "size": [30, 20], "params": {}}
        answer = monai.ask("POST", "/infer/wsi/mini_2d?output=asap&image=cells", json=box)
        assert b"<Coordinate " in answer.content

    def test_pages_of_allowed_origins_may_ask(self, serve: Callable[..., Server]) -> None:
        monai = MonaiClient(
            serve(compat=("monailabel",), compat_open=True, origins=("http://ohif.example",))
        )
        answer = monai.ask("GET", "/info/", headers={"Origin": "http://ohif.example"})
        assert answer.headers["access-control-allow-origin"] == "http://ohif.example"


class TestRefusals:
    def test_wrong_requests(self, monai: MonaiClient, scans: Path) -> None:
        session = sent(monai, scans)
        for params in (
            "{",
            "[]",
            '{"roi": [1]}',
            '{"roi": "x"}',
            '{"foreground": [[1]]}',
            '{"foreground": [[1, 1, 99]]}',
            '{"foreground": [["a", 1, 1]]}',
            '{"foreground": [[900, 900, 3]]}',
            '{"roi": [1, 2, 3, 4, 90, 99]}',
            '{"foreground": [[30, 30, 3]], "result_extension": "/../../x"}',
            '{"foreground": [[NaN, 1, 1]]}',
        ):
            monai.ask("POST", f"/infer/mini_3d?session_id={session}", 422, data={"params": params})
        monai.ask(
            "POST",
            f"/infer/mini_2d?session_id={session}",
            422,
            data={"params": '{"slice": 99, "roi": [1,2,3,4]}'},
        )
        monai.ask("POST", "/infer/mini_3d", 422)
        monai.ask("POST", f"/infer/nothing_3d?session_id={session}", 404)
        monai.ask("POST", "/infer/mini_3d?image=nothing", 404)
        monai.ask("POST", "/activelearning/nothing", 404)
        monai.ask("POST", "/train/mini", 404)
        image = monai.server.image()
        for tag in ("../x", "a/b", "", "."):
            monai.ask(
                "PUT",
                "/datastore/label",
                422,
                params={"image": image, "tag": tag},
                files={"label": ("x", b"1")},
            )
        assert gzip.decompress((scans / "ct.nii.gz").read_bytes())

    def test_the_token_where_it_is_wanted(self, serve: Callable[..., Server]) -> None:
        monai = MonaiClient(serve(compat=("monailabel",)))
        monai.server.http.headers.pop("Authorization")
        monai.ask("GET", "/info/", 401)
        assert monai.ask("GET", "/auth/").json()["enabled"]
        monai.ask("POST", "/auth/token", 401, data={"username": "me", "password": "wrong"})
        said = monai.ask("POST", "/auth/token", data={"username": "me", "password": TOKEN}).json()
        headers = {"Authorization": f"{said['token_type']} {said['access_token']}"}
        monai.ask("GET", "/auth/token/valid", headers=headers)
        monai.ask("GET", "/info/", headers=headers)
