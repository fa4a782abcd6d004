"""MONAI Label's data store: images, labels, what to label next."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from support.monailabel_client import MonaiClient, nrrd_of


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


class TestDatastore:
    def test_images_and_labels_are_kept(self, monai: MonaiClient, scans: Path) -> None:
        data = (scans / "ct.nii.gz").read_bytes()
        image = monai.ask(
            "PUT", "/datastore/image?image=x", files={"file": ("ct.nii.gz", data)}
        ).json()["image"]
        assert monai.ask("GET", f"/datastore/image?image={image}").content == data
        assert monai.ask("GET", f"/datastore/image/info?image={image}").json()["shape_zyx"] == [
            7,
            60,
            80,
        ]
        assert monai.ask("POST", "/activelearning/first", json={}).json()["id"] == image
        notes = {"label_info": [{"name": "tumour", "idx": 1}], "client_id": "me"}
        label = {"label": ("label.nrrd", b"NRRD...")}
        said = monai.ask(
            "PUT",
            f"/datastore/label?image={image}",
            files=label,
            data={"params": json.dumps(notes)},
        ).json()
        assert said == {"image": image, "label": image}
        assert monai.ask("GET", f"/datastore/label?label={image}&tag=final").content == b"NRRD..."
        monai.ask("HEAD", f"/datastore/label?label={image}&tag=final")
        monai.ask("PUT", f"/datastore/label/info?label={image}", data={"info": '{"seen": true}'})
        info = monai.ask("GET", f"/datastore/label/info?label={image}").json()
        assert info["seen"]
        assert info["params"] == notes
        listing = monai.ask("GET", "/datastore/?output=all").json()
        assert listing["objects"][image]["labels"]["final"]["ext"] == ".nrrd"
        assert listing["objects"][image]["image"]["ext"] == ".nii.gz"
        assert monai.ask("GET", "/datastore/?output=stats").json()["completed"] == 1
        assert monai.ask("GET", "/info/").json()["datastore"]["label_tags"] == {"final": 1}
        assert monai.ask("GET", "/datastore/?output=train").json()[0]["image"] == image
        assert monai.ask("POST", "/activelearning/random", json={}).json() == {}
        with zipfile.ZipFile(io.BytesIO(monai.ask("GET", "/datastore/dataset").content)) as packed:
            assert packed.read(f"{image}.nii.gz") == data
            assert packed.read(f"labels/final/{image}.nrrd") == b"NRRD..."
        (case,) = monai.server.http.get("/v1/cases").json()
        assert (case["state"], case["annotator"]) == ("done", "me")
        monai.ask("DELETE", f"/datastore/label?label={image}")
        monai.ask("GET", f"/datastore/label?label={image}", 404)

    def test_raw_labels_of_ohif(self, monai: MonaiClient, scans: Path) -> None:
        data = (scans / "ct.nii.gz").read_bytes()
        image = monai.ask("PUT", "/datastore/image", files={"file": ("ct.nii.gz", data)}).json()[
            "image"
        ]
        labels = block().astype(np.uint8)
        raw = labels.T.tobytes(order="F")  # (x, y, z), x running fastest
        monai.ask(
            "PUT", f"/datastore/label?image={image}&tag=final", files={"label": ("label.bin", raw)}
        )
        kept = monai.ask("GET", f"/datastore/label?label={image}").content
        assert np.array_equal(nrrd_of(kept), labels)
        monai.ask(
            "PUT", f"/datastore/label?image={image}", 422, files={"label": ("label.bin", raw[:-1])}
        )
