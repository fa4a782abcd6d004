"""From an archive to masks and back into it: the same voxels, in millimetres."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dicom_files import SPACING, along, normal_of, oblique, world_lps, write_series
from support.orthanc import orthanc
from support.web_archives import MANY, series_named

from segscope.io.dicom.web import Archive

from ..conftest import Server

highdicom = pytest.importorskip("highdicom", reason="the extra dicom is not installed")
pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")
STUDY, SERIES = "1.2.3.1", "1.2.3.2"
POSITIONS = along(3.0 * normal_of(oblique()), 6)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (6, 48, 64)).astype(np.int16)
    pixels[1:5, 12:30, 20:44] += 400
    folder = write_series(
        tmp_path_factory.mktemp("made") / "series",
        POSITIONS,
        oblique(),
        pixels=pixels,
        SeriesDescription="liver",
    )
    with orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        archive = Archive.at(url)
        archive.store(sorted(folder.iterdir()))
        yield archive


@pytest.fixture
def clinic(serve: Callable[..., Server], pacs: Archive) -> Server:
    """A server whose only roots are an archive and one that is down."""
    server = serve(dicomweb=(pacs.url, "http://:secret@127.0.0.1:9/rs"))
    reference = {"dicomweb": f"{STUDY}/{SERIES}"}
    case = server.http.post("/v1/cases", json={"reference": reference})
    assert case.status_code == 201, case.text
    server.image_id = case.json()["image_id"]
    opened = server.http.post("/v1/sessions", json={"image_id": server.image_id}).json()
    server.session_id, server.headers["X-Lease"] = opened["session_id"], opened["lease"]
    return server


def test_a_case_from_the_archive(clinic: Server, pacs: Archive) -> None:
    project = clinic.http.get("/v1/project")
    assert project.json()["dicomweb"] == [pacs.url, "http://127.0.0.1:9/rs"]
    assert "secret" not in project.text
    (case,) = clinic.http.get("/v1/cases").json()
    image = clinic.http.get(f"/v1/images/{case['image_id']}").json()
    assert (image["name"], image["origin"], image["shape_zyx"]) == (
        "CT liver",
        "upload",
        [6, 48, 64],
    )
    again = clinic.http.post("/v1/images/reference", json={"dicomweb": STUDY}).json()
    assert again["image_id"] == image["image_id"]
    (study,) = clinic.http.get("/v1/dicomweb/0/studies?patient_id=T1&modality=CT").json()
    assert study["uid"] == STUDY
    assert clinic.http.get("/v1/dicomweb/0/studies?patient_id=T2").json() == []
    rows = clinic.http.get(f"/v1/dicomweb/0/studies/{STUDY}/series").json()
    assert rows[0] == {
        "uid": SERIES,
        "modality": "CT",
        "description": "liver",
        "instances": 6,
        "images": True,
    }
    names = [path.name for path in (clinic.workspace.settings.project / "uploads").iterdir()]
    assert names == [image["image_id"]]


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_masks_lie_on_the_same_voxels(
    clinic: Server, pacs: Archive, kind: str, tmp_path: Path
) -> None:
    clinic.do("predict", frame=2, object_id=1, boxes=[(19, 11, 45, 31)])
    clinic.propagate()
    clinic.ask("PATCH", "/objects/1", {"label": "liver"})
    labels = clinic.labels()
    assert np.count_nonzero(labels.any(axis=(1, 2))) >= 3
    stored = clinic.do("dicomweb", 201, format=kind)
    assert stored["study"] == STUDY
    (path,) = pacs.fetch(STUDY, series_named(stored["series"]), tmp_path, **MANY)
    assert path.stem == stored["instance"]
    if kind == "dicom-seg":
        assert farthest(path, labels) < 0.01
    if shutil.which("dciodvfy"):
        said = subprocess.run(
            ["dciodvfy", str(path)], capture_output=True, text=True, errors="replace"
        ).stderr
        assert not [line for line in said.splitlines() if line.startswith("Error")], said


def farthest(path: Path, labels: np.ndarray) -> float:
    """Largest distance in mm between a voxel of a SEG by its header and by the series."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    affine = volume.affine
    found = np.argwhere(volume.array) @ affine[:3, :3].T + affine[:3, 3]
    wanted = np.array([world_lps(POSITIONS[z], oblique(), y, x) for z, y, x in np.argwhere(labels)])
    assert len(found) == len(wanted)
    distances = np.linalg.norm(found[:, None] - wanted[None], axis=2)
    assert min(SPACING) > 0.02
    return float(distances.min(axis=1).max())


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"dicomweb": STUDY, "root": 1}, 502, "cannot be reached"),
        ({"dicomweb": STUDY, "root": 2}, 404, "no DICOMweb root 2"),
        ({"dicomweb": "9.9.9"}, 404, "no study 9.9.9"),
        ({"dicomweb": f"{STUDY}/9.9.9"}, 404, "no series 9.9.9"),
        ({"dicomweb": "../../etc"}, 422, "UID"),
        ({"dicomweb": f"{STUDY}/"}, 422, "STUDY/SERIES"),
        ({"dicomweb": STUDY, "path": "ct.nii.gz"}, 422, "one of the two"),
        ({}, 422, "one of the two"),
    ],
)
def test_references_that_lead_nowhere(clinic: Server, body: Any, status: int, words: str) -> None:
    answer = clinic.http.post("/v1/cases", json={"reference": body})
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert "secret" not in answer.text


def test_more_than_the_server_takes(serve: Callable[..., Server], pacs: Archive) -> None:
    from segscope.serve.settings import Limits

    server = serve(dicomweb=(pacs.url,), limits=Limits(upload_bytes=4000))
    answer = server.http.post("/v1/images/reference", json={"dicomweb": STUDY})
    assert answer.status_code == 413
    assert list((server.workspace.settings.project / "uploads").iterdir()) == []


def test_a_server_without_archives(server: Server) -> None:
    answer = server.http.post("/v1/cases", json={"reference": {"dicomweb": STUDY}})
    assert (answer.status_code, "--dicomweb" in answer.text) == (404, True)
    server.open()
    server.do("dicomweb", 404)


def test_what_the_archive_cannot_take(clinic: Server) -> None:
    clinic.do("dicomweb", 422)  # no masks
    clinic.do("dicomweb", 422, format="nifti")
    clinic.do("predict", frame=2, object_id=1, boxes=[(19, 11, 45, 31)])
    clinic.do("dicomweb", 404, objects=[7])
    clinic.do("dicomweb", 502, root=1)
    clinic.headers["X-Lease"] = "another"
    clinic.do("dicomweb", 410)


def test_ohif_names_images_by_their_series(serve: Callable[..., Server], pacs: Archive) -> None:
    server = serve(dicomweb=(pacs.url,), compat=("monailabel",))
    answer = server.http.post(
        f"/monailabel/infer/mini_2d?image={SERIES}&output=image",
        data={
            "params": '{"foreground": [[30, 20, 2]], "label": "liver", "result_compress": false}'
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"NRRD")
    missing = server.http.post("/monailabel/infer/mini_2d?image=9.9.9", data={"params": "{}"})
    assert missing.status_code == 404, missing.text
