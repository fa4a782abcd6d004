"""The project, its cases and data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from segscope.io.datasets.reading import read_dataset, read_image, read_target

from ..conftest import Server

BOX = [20, 20, 40, 40]


def array(answer: Any) -> np.ndarray:
    about = json.loads(answer.headers["X-Array"])
    return np.frombuffer(answer.content, about["dtype"]).reshape(about["shape"])


class TestProject:
    def test_health_and_project(self, server: Server) -> None:
        assert server.http.get("/v1/health").json()["status"] == "ok"
        project = server.http.get("/v1/project").json()
        assert project["windows"]["lung"] == [1500, -600]
        assert {"nifti", "dicom-seg", "rtstruct", "coco", "png"} <= set(project["exports"])

    def test_labels_are_kept(self, serve: Callable[..., Server]) -> None:
        label = {"number": 1, "name": "liver", "colour": "#e69f00", "code": None}
        changed = serve().http.patch("/v1/project", json={"name": "trial", "labels": [label]})
        assert changed.status_code == 200
        again = serve().http.get("/v1/project").json()
        assert (again["name"], again["labels"]) == ("trial", [label])

    def test_models(self, server: Server) -> None:
        rows = {row["name"]: row for row in server.http.get("/v1/models").json()}
        assert rows["mini"]["loaded"]
        assert rows["mini"]["available"]
        assert not rows["sam2.1-large"]["available"]

    def test_the_whole_is_described(self, server: Server) -> None:
        paths = server.http.get("/v1/openapi.json").json()["paths"]
        assert {"/v1/images", "/v1/sessions/{session_id}/predict", "/v1/jobs/{job_id}"} <= set(
            paths
        )

    def test_the_page_is_there_without_the_built_app(self, server: Server) -> None:
        assert "segscope" in server.http.get("/", headers={"Authorization": ""}).text
        assert server.http.get("/assets/missing.js").status_code == 404


class TestReviewAndCases:
    def test_the_most_doubtful_come_first(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.propagate()
        rows = server.ask("GET", "/review?count=4")
        assert [row["doubt"] for row in rows] == sorted(
            (row["doubt"] for row in rows), reverse=True
        )
        assert 3 not in {row["frame"] for row in rows}
        server.do("accept", frames=[rows[0]["frame"]])
        assert server.ask("GET", "/review")[0]["frame"] != rows[0]["frame"]
        assert server.ask("GET", "/state")["reviewed"][0] == 2

    def test_flags(self, server: Server) -> None:
        server.open()
        server.ask("PUT", "/flags/2", {"comment": "motion"}, 204)
        assert server.ask("GET", "/state")["flags"] == [{"frame": 2, "comment": "motion"}]
        server.ask("PUT", "/flags/2", {"flagged": False}, 204)
        assert server.ask("GET", "/state")["flags"] == []

    def test_the_work_list(self, server: Server) -> None:
        http = server.http
        for name in ("ct.nii.gz", "cells.png"):
            answer = http.post("/v1/cases", json={"reference": {"root": 0, "path": name}})
            assert answer.status_code == 201
        first, second = http.get("/v1/cases").json()
        assert http.get("/v1/cases/next").json()["case_id"] == first["case_id"]
        done = http.patch(
            f"/v1/cases/{first['case_id']}", json={"state": "done", "annotator": "anna"}
        )
        assert done.json()["state"] == "done"
        assert (
            http.get(f"/v1/cases/next?after={first['case_id']}").json()["case_id"]
            == second["case_id"]
        )
        assert [case["name"] for case in http.get("/v1/cases?state=done").json()] == ["ct.nii.gz"]
        http.patch(f"/v1/cases/{second['case_id']}", json={"state": "skip"})
        assert http.get("/v1/cases/next").status_code == 404
        assert http.get("/v1/project").json()["cases"] == {
            "todo": 0,
            "done": 1,
            "skip": 1,
            "flag": 0,
        }
        assert http.post("/v1/cases", json={}).status_code == 422


def test_what_was_annotated_becomes_a_data_set(server: Server) -> None:
    http = server.http
    for name, box in (("ct.nii.gz", BOX), ("cells.png", [20, 10, 50, 30])):
        server.open(name)
        case = http.post("/v1/cases", json={"image_id": server.image_id}).json()
        server.do("predict", frame=3 if name == "ct.nii.gz" else 0, boxes=[box])
        server.ask("PATCH", "/objects/1", {"label": "bright / block"})
        http.patch(f"/v1/cases/{case['case_id']}", json={"state": "done"})
    job = http.post("/v1/project/dataset", json={}).json()["job_id"]
    assert server.workspace.jobs.get(job).wait(60)
    said = http.get(f"/v1/jobs/{job}").json()
    assert said["result"] == {"folder": "dataset", "items": 2, "val": 0}, said
    found = read_dataset(server.workspace.settings.project / "dataset")
    for case in found.cases:
        stack = read_image(case)
        masks = read_target(case.targets[0], stack)
        assert case.targets[0].label == "bright / block"
        assert masks.runs
    assert np.array_equal(masks.labels, server.labels())
    job = http.post("/v1/project/dataset", json={"states": ["flag"]}).json()["job_id"]
    assert server.workspace.jobs.get(job).wait(60)
    assert http.get(f"/v1/jobs/{job}").json()["state"] == "failed"
    assert (server.workspace.settings.project / "dataset" / "dataset.json").is_file()
