"""Commands, objects and jobs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from segscope.client import SessionUpdate
from segscope.predict.propagation import PropagationRange

from ..conftest import Server

BOX = [20, 20, 40, 40]


def array(answer: Any) -> np.ndarray:
    about = json.loads(answer.headers["X-Array"])
    return np.frombuffer(answer.content, about["dtype"]).reshape(about["shape"])


class TestCommands:
    def test_a_box_gives_a_mask(self, server: Server) -> None:
        server.open()
        said = server.do("predict", frame=3, object_id=1, boxes=[BOX], seq=5)
        assert (said["seq"], said["frame"], said["object_id"], said["can_undo"]) == (5, 3, 1, 1)
        answer = SessionUpdate.from_json(said)
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
        want = SessionUpdate.from_json(said).candidates[1]
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
        # one locked, one accepted, one in work, each over a part of what is segmented again
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
        first = next(iter(job.patches()))
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
            frames = document.propagate(PropagationRange("forward"), None, lambda: False)
            server.do("predict", 409, frame=0, points=[[5, 5, 1]])
            server.do("undo", 409)
            assert server.do("hover", frame=0, points=[[60, 15, 1]])["changes"]
            assert next(frames).frame == 0
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
