"""MONAI Label's data store: images, labels, what to label next."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from support.monailabel_client import MonaiClient, nrrd_of

import segscope as ss
from segscope.errors import WriteError
from segscope.serve.compat.monailabel.asap_xml import asap_annotations
from segscope.serve.compat.monailabel.label_files import LabelFiles
from segscope.serve.project.project_info import ProjectLabel
from segscope.serve.settings import Limits

from ...conftest import Server


def block() -> np.ndarray:
    found = np.zeros((7, 60, 80), bool)
    found[1:6, 20:40, 20:40] = True
    return found


def nifti_label(labels: np.ndarray, spacing: float = 0.7, columns: int = 0) -> bytes:
    """A label (z, y, x) as a NIfTI file on the grid of ct.nii.gz, on one of another spacing, or on
    one that is some columns away.
    """
    affine = np.diag([spacing, 0.8, 2.5, 1.0])
    affine[0, 3] = columns * spacing
    return gzip.compress(nibabel.Nifti1Image(labels.astype(np.uint8).T, affine).to_bytes())


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
        content = nifti_label(block())
        label = {"label": ("label.nii.gz", content)}
        said = monai.ask(
            "PUT",
            f"/datastore/label?image={image}",
            files=label,
            data={"params": json.dumps(notes)},
        ).json()
        assert said == {"image": image, "label": image}
        assert monai.ask("GET", f"/datastore/label?label={image}&tag=final").content == content
        monai.ask("HEAD", f"/datastore/label?label={image}&tag=final")
        monai.ask("PUT", f"/datastore/label/info?label={image}", data={"info": '{"seen": true}'})
        info = monai.ask("GET", f"/datastore/label/info?label={image}").json()
        assert info["seen"]
        assert info["params"] == notes
        listing = monai.ask("GET", "/datastore/?output=all").json()
        assert listing["objects"][image]["labels"]["final"]["ext"] == ".nii.gz"
        assert listing["objects"][image]["image"]["ext"] == ".nii.gz"
        assert monai.ask("GET", "/datastore/?output=stats").json()["completed"] == 1
        assert monai.ask("GET", "/info/").json()["datastore"]["label_tags"] == {"final": 1}
        assert monai.ask("GET", "/datastore/?output=train").json()[0]["image"] == image
        assert monai.ask("POST", "/activelearning/random", json={}).json() == {}
        with zipfile.ZipFile(io.BytesIO(monai.ask("GET", "/datastore/dataset").content)) as packed:
            assert packed.read(f"{image}.nii.gz") == data
            assert packed.read(f"labels/final/{image}.nii.gz") == content
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


def put(
    monai: MonaiClient, image: str, name: str, data: bytes, status: int = 200, **notes: Any
) -> Any:
    return monai.ask(
        "PUT",
        f"/datastore/label?image={image}",
        status,
        files={"label": (name, data)},
        data={"params": json.dumps(notes)},
    )


def case_state(monai: MonaiClient) -> str:
    (case,) = monai.server.http.get("/v1/cases").json()
    return str(case["state"])


class TestLabelIntake:
    @pytest.mark.parametrize(
        ("name", "data", "words"),
        [
            ("label.nii.gz", b"", "empty"),
            ("label.nii.gz", b"junk", "NIfTI"),
            ("label.nrrd", b"NRRD0004\n", "damaged"),
            ("label.exe", b"1", "not in a format that holds masks"),
            ("label.nii.gz", nifti_label(np.ones((3, 3, 3))), "3 x 3 x 3 voxels"),
            ("label.nii.gz", nifti_label(block(), spacing=1.4), "grid"),
            ("label.nii.gz", nifti_label(block(), columns=1000), "covers the grid"),
            ("label.nii.gz", nifti_label(block(), columns=5), "covers the grid"),
        ],
        ids=["empty", "junk", "damaged", "no format", "size", "spacing", "far off", "shifted"],
    )
    def test_a_label_that_does_not_fit_leaves_everything_as_it_was(
        self, monai: MonaiClient, name: str, data: bytes, words: str
    ) -> None:
        image = monai.server.image()
        first = nifti_label(block())
        put(monai, image, "label.nii.gz", first)
        answer = put(monai, image, name, data, 422)
        assert words in answer.text
        assert monai.server.workspace.settings.project.name not in answer.text
        assert monai.ask("GET", f"/datastore/label?label={image}").content == first
        (session,) = monai.server.http.get("/v1/sessions").json()
        assert session["annotator"] == "monailabel"

    def test_a_refused_label_finishes_no_case(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        put(monai, image, "label.nii.gz", b"junk", 422)
        assert case_state(monai) == "todo"
        monai.ask("GET", f"/datastore/label?label={image}", 404)

    def test_the_label_before_is_kept_in_the_trash(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        contents = [nifti_label(block()), nifti_label(block() * 2)]
        for content in contents:
            put(monai, image, "label.nii.gz", content)
        trash = monai.server.workspace.settings.project / "trash" / "labels" / image / "final"
        assert [path.read_bytes() for path in trash.glob("*/label.nii.gz")] == contents[:1]
        monai.ask("DELETE", f"/datastore/label?label={image}")
        kept = sorted(trash.glob("*/label.nii.gz"))
        assert [path.read_bytes() for path in kept] == contents
        assert case_state(monai) == "todo"
        assert monai.server.http.get("/v1/sessions").json() == []


class TestLabelSessions:
    def test_a_saved_label_is_in_the_data_set(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        labels = block().astype(np.uint8)
        labels[:, 10:15, 60:70] = 3
        info = [{"name": "liver", "idx": 1}, {"name": "tumour", "idx": 3}]
        put(monai, image, "label.nii.gz", nifti_label(labels), label_info=info)
        assert case_state(monai) == "done"
        started = monai.server.http.post("/v1/project/dataset", json={})
        assert started.status_code == 202, started.text
        job = monai.server.workspace.jobs.get(started.json()["job_id"])
        assert job.wait(60)
        assert job.state == "done", job.detail
        folder = next(monai.server.workspace.settings.project.rglob("dataset.json")).parent
        (item,) = json.loads((folder / "dataset.json").read_text())["items"]
        found = {
            target["label"]: ss.read_masks(folder / target["path"]).labels > 0
            for target in item["targets"]
        }
        assert set(found) == {"liver", "tumour"}
        assert np.array_equal(found["liver"], labels == 1)
        assert np.array_equal(found["tumour"], labels == 3)

    def test_polygons_of_qupath(self, monai: MonaiClient) -> None:
        image = monai.server.image("cells.png")
        mask = np.zeros((64, 96), bool)
        mask[10:30, 20:50] = True
        content = asap_annotations("nucleus", mask, offset_xy=(0, 0), min_pixels=0)
        put(monai, image, "cells123.xml", content)
        assert monai.ask("GET", f"/datastore/label?label={image}").content == content
        (session,) = monai.server.http.get("/v1/sessions").json()
        with monai.server.workspace.sessions.use(session["session_id"]) as opened:
            masks = opened.masks()
        assert dict(masks.names) == {1: "nucleus"}
        assert np.array_equal(masks.mask(0, 1), mask)

    def test_names_from_the_labels_of_the_project(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        monai.server.workspace.update(labels=[ProjectLabel(1, "liver")])
        labels = block().astype(np.uint8)
        labels[:, 10:15, 60:70] = 2
        put(monai, image, "label.nii.gz", nifti_label(labels))
        (session,) = monai.server.http.get("/v1/sessions").json()
        with monai.server.workspace.sessions.use(session["session_id"]) as opened:
            assert dict(opened.masks().names) == {1: "liver", 2: "object"}

    def test_a_label_that_cannot_be_stored_leaves_the_earlier_session(
        self, monai: MonaiClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = monai.server.image()
        put(monai, image, "label.nii.gz", nifti_label(block()))
        (earlier,) = monai.server.http.get("/v1/sessions").json()

        def refuse(*_: object) -> None:
            raise WriteError("cannot write label.nii.gz: No space left on device")

        monkeypatch.setattr(LabelFiles, "save", refuse)
        put(monai, image, "label.nii.gz", nifti_label(block() * 2), 507)
        (remaining,) = monai.server.http.get("/v1/sessions").json()
        assert remaining["session_id"] == earlier["session_id"]

    def test_a_later_label_takes_the_place_of_an_earlier_one(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        put(monai, image, "label.nii.gz", nifti_label(block()), label_info=[{"name": "liver"}])
        later = np.roll(block(), 3, axis=2)
        put(monai, image, "label.nii.gz", nifti_label(later), label_info=[{"name": "spleen"}])
        (session,) = monai.server.http.get("/v1/sessions").json()
        with monai.server.workspace.sessions.use(session["session_id"]) as opened:
            masks = opened.masks()
        assert dict(masks.names) == {1: "spleen"}
        assert np.array_equal(masks.labels > 0, later)

    def test_a_label_that_is_open_in_a_window_is_not_replaced(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        first = nifti_label(block())
        put(monai, image, "label.nii.gz", first)
        session_id = monai.server.open(annotator="monailabel")
        answer = put(monai, image, "label.nii.gz", nifti_label(block() * 2), 409)
        assert "open in a window" in answer.text
        assert monai.ask("GET", f"/datastore/label?label={image}").content == first
        (session,) = monai.server.http.get("/v1/sessions").json()
        assert session["session_id"] == session_id

    def test_a_label_that_is_open_in_a_window_is_not_deleted(self, monai: MonaiClient) -> None:
        image = monai.server.image()
        put(monai, image, "label.nii.gz", nifti_label(block()))
        monai.server.open(annotator="monailabel")
        answer = monai.ask("DELETE", f"/datastore/label?label={image}", 409)
        assert "open in a window" in answer.text
        monai.ask("GET", f"/datastore/label?label={image}")
        assert case_state(monai) == "done"


class TestSeries:
    def test_the_next_sample_of_a_dicom_folder_can_be_fetched(
        self, monai: MonaiClient, inputs: Any, tmp_path: Path
    ) -> None:
        files = [
            ("files", (path.name, path.read_bytes()))
            for path in sorted(Path(inputs.series).iterdir())
        ]
        monai.ask("PUT", "/session/", files=files)
        sample = monai.ask("POST", "/activelearning/first", json={}).json()
        assert sample["name"].endswith(".nii.gz")
        assert "checksum" not in sample
        answer = monai.ask("GET", f"/datastore/image?image={sample['id']}")
        path = tmp_path / sample["name"]
        path.write_bytes(answer.content)
        fetched = ss.read(path)
        series = ss.read(inputs.series)
        assert fetched.geometry is not None
        assert series.geometry is not None
        assert fetched.geometry.same_grid(series.geometry)
        assert len(fetched) == len(series)
        for index in range(len(series)):
            assert np.array_equal(fetched[index], series[index])

    def test_a_folder_of_frames_is_not_offered(self, monai: MonaiClient) -> None:
        image = monai.server.image("clip")
        assert monai.ask("POST", "/activelearning/first", json={}).json() == {}
        monai.ask("GET", f"/datastore/image?image={image}", 404)


def test_the_checksum_of_a_sample_is_not_computed_again(
    monai: MonaiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monai.server.image()
    first = monai.ask("POST", "/activelearning/first", json={}).json()

    def refuse(_path: Path) -> str:
        raise AssertionError("the file was read again")

    monkeypatch.setattr("segscope.serve.project.safe_paths.content_hash", refuse)
    assert monai.ask("POST", "/activelearning/first", json={}).json() == first


def test_an_image_of_more_than_a_thousand_files(monai: MonaiClient, inputs: Any) -> None:
    series = sorted(Path(inputs.series).iterdir())
    files = [("files", (path.name, path.read_bytes())) for path in series]
    files += [("files", (f"note{number}.txt", b"x")) for number in range(1001)]
    monai.ask("PUT", "/session/", files=files)


def test_the_data_set_is_sent_however_large_it_is(serve: Callable[..., Server]) -> None:
    limits = Limits(volume_bytes=1000)
    monai = MonaiClient(serve(compat=("monailabel",), compat_open=True, limits=limits))
    image = monai.server.image()
    content = monai.ask("GET", "/datastore/dataset").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [f"{image}.nii.gz"]
        assert archive.testzip() is None
