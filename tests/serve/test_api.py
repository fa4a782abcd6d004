"""Every endpoint does what docs/annotate.md says."""

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
from segscope.client import CommandResult
from segscope.io.datasets.reading import dataset, read_image, read_target

from .conftest import BASE, Server

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


class TestCommands:
    def test_a_box_gives_a_mask(self, server: Server) -> None:
        server.open()
        said = server.do("predict", frame=3, object_id=1, boxes=[BOX], seq=5)
        assert (said["seq"], said["frame"], said["object_id"], said["can_undo"]) == (5, 3, 1, 1)
        answer = CommandResult.from_json(said)
        canvas = np.zeros((60, 80), bool)
        for part in answer.changes:
            part.apply_to(canvas)
        assert canvas.sum() == answer.changes[0].area > 200
        assert np.array_equal(server.labels()[3], canvas)

    def test_every_kind_of_prompt(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, points=[[30.5, 30.5, 1], [60, 15, 0]])
        prompts = [
            {"type": "scribble", "xy": [[25, 25], [35, 35]], "positive": True, "width": 3},
            {"type": "box", "xyxy": BOX},
            {"type": "point", "frame": 2, "object": 4, "xy": [60, 15]},
        ]
        server.do("predict", frame=3, object_id=2, prompts=prompts)
        found = server.ask("GET", "/prompts")
        assert [(entry["id"], len(entry["prompts"])) for entry in found["objects"]] == [
            (1, 2),
            (2, 2),
            (4, 1),
        ]
        assert len(server.ask("GET", "/prompts?object_id=2&frame=3")["objects"]) == 1

    def test_hover_keeps_nothing_and_foretells(self, server: Server) -> None:
        server.open("cells.png")
        before = (
            server.ask("GET", "/log")
            if False
            else server.http.get(f"/v1/sessions/{server.session_id}/log").content
        )
        seen = server.do("hover", points=[[35, 20, 1]], multimask=True)
        assert server.http.get(f"/v1/sessions/{server.session_id}/log").content == before
        done = server.do("predict", points=[[35, 20, 1]])
        assert seen["changes"][0]["data"] == done["changes"][0]["data"]
        assert len(seen["candidate_masks"]) == len(done["candidates"])

    def test_a_candidate_is_chosen(self, server: Server) -> None:
        server.open("cells.png")
        said = server.do("predict", points=[[35, 20, 1]], multimask=True)
        assert [row["index"] for row in said["candidates"]] == list(range(len(said["candidates"])))
        want = CommandResult.from_json(said).candidates[1]
        said = server.do("choose", frame=0, object_id=1, index=1)
        assert said["chosen"] == 1
        canvas = np.zeros((64, 96), bool)
        want.apply_to(canvas)
        assert np.array_equal(server.labels()[0] == 1, canvas)

    def test_paint_and_erase(self, server: Server) -> None:
        server.open("cells.png")
        server.do("paint", frame=0, object_id=1, strokes=[{"xy": [[10, 10], [30, 10]], "width": 8}])
        painted = server.labels()[0].astype(bool)
        assert painted[10, 10:30].all()
        square = [[12, 5], [20, 5], [20, 20], [12, 20]]
        server.do("paint", frame=0, object_id=1, polygon=square, erase=True)
        assert not server.labels()[0][8:12, 14:18].any()
        server.do("undo")
        assert np.array_equal(server.labels()[0].astype(bool), painted)

    def test_replace_and_clear(self, server: Server) -> None:
        server.open("cells.png")
        server.do("predict", points=[[35, 20, 1]])
        server.do(
            "replace", frame=0, object_id=1, prompts=[{"type": "box", "xyxy": [20, 10, 50, 30]}]
        )
        assert [p["type"] for p in server.ask("GET", "/prompts")["objects"][0]["prompts"]] == [
            "box"
        ]
        server.do("clear", frame=0, object_id=1)
        assert not server.labels().any()

    def test_undo_and_redo_bring_the_frame_in_view(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.propagate(direction="both")
        labels = server.labels()
        said = server.do("undo", frame=4)
        told = {part["frame"] for part in said["changes"]} | set(said["stale"])
        assert told == {frame for frame in range(7) if frame != 3 and labels[frame].any()}
        assert 4 in {part["frame"] for part in said["changes"]}
        assert not server.labels()[4].any()
        server.do("redo", frame=4)
        assert np.array_equal(server.labels(), labels)
        assert server.do("redo")["can_redo"] == 0

    def test_everything_makes_objects(self, server: Server) -> None:
        server.open("cells.png")
        job = server.do("everything", 202, frame=0)["job_id"]
        assert server.workspace.jobs.get(job).wait(60)
        said = server.http.get(f"/v1/jobs/{job}").json()
        assert said["state"] == "done", said
        state = server.ask("GET", "/state")
        assert [row["object_id"] for row in state["objects"]] == said["result"]["objects"]
        server.do("undo")
        assert server.ask("GET", "/state")["objects"] == []

    def test_everything_leaves_objects_alone(self, server: Server) -> None:
        server.open("cells.png")
        found = self.everything(server)
        assert found
        whole = server.labels()[0]
        server.do("undo")
        # a finished one, an accepted one and one in work, each over a part of what will be found again
        rows, columns = np.nonzero(whole)
        halves = ((rows.min(), 1), (int(np.median(rows)), 2), (rows.max(), 3))
        for row, number in halves:
            stroke = {
                "xy": [[int(columns.min()), int(row)], [int(columns.max()), int(row)]],
                "width": 3,
            }
            server.do("paint", frame=0, object_id=number, strokes=[stroke])
        server.ask("PATCH", "/objects/1", {"locked": True})
        server.do("accept", frames=[0], object_ids=[2])
        before = server.labels()[0]
        self.everything(server)
        after = server.labels()[0]
        assert np.array_equal(after[before > 0], before[before > 0])
        assert after.max() > 3
        again = self.everything(server)  # all that is found is there already
        assert again == []
        assert np.array_equal(server.labels()[0], after)

    @staticmethod
    def everything(server: Server) -> list[int]:
        job = server.do("everything", 202, frame=0)["job_id"]
        assert server.workspace.jobs.get(job).wait(60)
        objects: list[int] = server.http.get(f"/v1/jobs/{job}").json()["result"]["objects"]
        return objects


class TestObjects:
    def test_they_are_made_described_and_removed(self, server: Server) -> None:
        server.open()
        said = server.ask("POST", "/objects", {"label": "liver tumour", "colour": "#ff0000"}, 201)
        (row,) = said["objects"]
        assert row["code"]["meaning"] == "Neoplasm"
        assert server.ask("POST", "/objects", {"label": "b"}, 201)["objects"][0]["object_id"] == 2
        code = {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}
        server.ask("PATCH", "/objects/1", {"visible": False, "comment": "odd", "code": code})
        row = server.ask("GET", "/state")["objects"][0]
        assert (row["visible"], row["comment"], row["code"], row["label"]) == (
            False,
            "odd",
            code,
            "liver tumour",
        )
        assert server.ask("DELETE", "/objects/1")["removed"] == [1]
        server.do("undo")
        assert server.ask("GET", "/state")["objects"][0]["label"] == "liver tumour"
        server.ask("DELETE", "/objects/9", status=404)

    def test_locked_objects_are_left_alone(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.ask("PATCH", "/objects/1", {"locked": True})
        labels = server.labels()
        server.do("predict", 409, frame=3, points=[[5, 5, 1]])
        server.do("paint", 409, frame=3, object_id=1, strokes=[{"xy": [[5, 5]], "width": 3}])
        server.do("propagate", 409, objects=[1])
        server.ask("DELETE", "/objects/1", status=409)
        server.do("paint", frame=3, object_id=2, polygon=[[0, 0], [80, 0], [80, 60], [0, 60]])
        assert np.array_equal(server.labels()[3] == 1, labels[3] == 1)
        assert server.do("predict", frame=3, points=[[5, 5, 1]], force=True)["can_undo"] == 4

    def test_accepted_frames_are_left_alone(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=3, boxes=[BOX])
        server.propagate()
        server.do("accept", frames=[2])
        before = server.labels()[2]
        server.do("predict", 409, frame=2, points=[[5, 5, 0]])
        server.do("predict", frame=3, points=[[39, 39, 0]])
        server.propagate()
        assert np.array_equal(server.labels()[2], before)
        row = server.ask("GET", "/state")["objects"][0]
        assert [entry[3:] for entry in row["frames"] if entry[0] == 2] == [["confirmed", True]]
        server.do("accept", frames=[2], accepted=False)
        server.do("predict", frame=2, points=[[5, 5, 0]])
        server.do("accept", 422, frames=[99])


class TestJobs:
    def test_corrections_redo_the_neighbourhood(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=1, boxes=[BOX])
        server.do("predict", frame=5, boxes=[BOX])
        said = server.do("correct", frame=3, points=[[30, 30, 1]])
        job = server.workspace.jobs.get(said["job"])
        assert job.wait(60)
        row = server.ask("GET", "/state")["objects"][0]
        assert [entry[0] for entry in row["frames"]] == [1, 2, 3, 4, 5]

    def test_a_propagation_streams_and_can_be_cancelled(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=0, boxes=[[55, 10, 70, 25]])
        job = server.workspace.jobs.get(server.do("propagate", 202)["job_id"])
        first = next(iter(job.pieces()))
        assert first.object_id == 1
        said = server.http.delete(f"/v1/jobs/{job.job_id}").json()
        assert said["state"] in ("cancelled", "done")
        done = server.ask("GET", "/state")
        assert done["job"] is None
        assert done["can_undo"] == 2
        assert server.do("undo")["can_undo"] == 1

    def test_commands_wait_for_no_propagation(self, server: Server) -> None:
        server.open()
        server.do("predict", frame=0, boxes=[[55, 10, 70, 25]])
        with server.workspace.sessions.use(server.session_id) as document:
            frames = document.propagate(lambda: False, direction="forward")
            server.do("predict", 409, frame=0, points=[[5, 5, 1]])
            server.do("undo", 409)
            assert server.do("hover", frame=0, points=[[60, 15, 1]])["changes"]
            assert next(frames)[0] == 0
            server.do("predict", 409, frame=0, points=[[5, 5, 1]])
            frames.close()
            document.end_propagation()
        server.do("predict", frame=0, points=[[5, 5, 0]])

    def test_frames_are_encoded_ahead(self, server: Server) -> None:
        server.open()
        job = server.do("embed", 202, frames=[0, 1])["job_id"]
        assert server.workspace.jobs.get(job).wait(30)
        with server.workspace.sessions.use(server.session_id) as document:
            assert document.work.encoded_frames == 2
        server.do("embed", 422, frames=[7])

    def test_unknown_jobs(self, server: Server) -> None:
        assert server.http.get("/v1/jobs/nothing").status_code == 404


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
    found = dataset(server.workspace.settings.project / "dataset")
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
