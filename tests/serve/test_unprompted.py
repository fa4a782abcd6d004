"""Models that take no prompts on the server: their classes become objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.monailabel_client import MonaiClient
from support.pictures import bright_block, to_base64

import segscope as ss
from segscope.adapt import method, saved
from segscope.cli.app import main

from .conftest import Server

CLASSES = ("wall", "block")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear probe that names pixels by chance."""
    place = tmp_path_factory.mktemp("models") / "tissues"
    base = ss.load("mini", device="cpu", dtype="float32")
    chosen = method("linear-probe")()
    adapted = saved.attach(chosen, base, CLASSES)
    drawn = torch.Generator().manual_seed(1)
    tensors = {
        name: torch.randn(item.shape, generator=drawn) for name, item in adapted.tensors().items()
    }
    place.mkdir()
    saved.write(
        place, saved.AdaptationRecord(chosen, saved.base_of(base, "mini"), CLASSES), tensors
    )
    return place


@pytest.fixture
def server(serve: Callable[..., Server], probe: Path) -> Server:
    return serve(models={"tissues": str(probe)}, compat=("monailabel",), compat_open=True)


def everything(server: Server, **body: Any) -> dict[str, Any]:
    job = server.do("everything", 202, frame=0, **body)["job_id"]
    assert server.workspace.jobs.get(job).wait(60)
    said: dict[str, Any] = server.http.get(f"/v1/jobs/{job}").json()
    assert said["state"] == "done", said
    return said


def names(server: Server) -> dict[int, str]:
    return {row["object_id"]: row["label"] for row in server.ask("GET", "/state")["objects"]}


def test_models_say_what_they_find(server: Server) -> None:
    rows = {row["name"]: row for row in server.http.get("/v1/models").json()}
    assert rows["tissues"]["classes"] == list(CLASSES)
    assert rows["tissues"]["prompts"] == []
    assert rows["mini"]["classes"] == []
    assert rows["mini"]["prompts"]


def test_a_damaged_adaptation_is_named_and_not_available(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adaptation.json").write_text("{")
    (row,) = [
        r
        for r in serve(models={"broken": str(broken)}).http.get("/v1/models").json()
        if r["name"] == "broken"
    ]
    assert not row["available"]
    assert "copy the folder again" in row["note"]
    assert str(tmp_path) not in row["note"]


def test_its_classes_become_objects_on_all_frames_in_one_step(server: Server, probe: Path) -> None:
    server.open()
    said = everything(server, model="tissues", whole=True)
    assert (said["done"], said["total"]) == (7, 7)
    assert names(server) == {1: "wall", 2: "block"}
    volume = ss.read(server.workspace.settings.roots[0] / "ct.nii.gz")
    alone = ss.everything(volume, ss.load(probe, device="cpu"))
    assert np.array_equal(server.labels(), np.stack(list(alone.iter_labels())))
    before = server.ask("GET", "/state")["can_undo"]
    server.do("undo")
    assert not server.labels().any()
    assert server.ask("GET", "/state")["can_undo"] == before - 1


def test_what_is_there_stays(server: Server) -> None:
    server.open()
    server.do("paint", frame=2, object_id=5, strokes=[{"xy": [[5, 5], [50, 50]], "width": 9}])
    server.ask("PATCH", "/objects/5", {"label": "block"})
    server.do("paint", frame=3, object_id=6, strokes=[{"xy": [[5, 50], [50, 5]], "width": 9}])
    drawn = server.labels()
    everything(server, model="tissues", whole=True)
    after = server.labels()
    assert names(server) == {
        5: "block",
        6: "",
        7: "wall",
    }  # the class goes to the object that has its name
    assert np.array_equal(after[drawn > 0], drawn[drawn > 0])
    assert np.array_equal(
        after[2] == 5, drawn[2] == 5
    )  # a mask of the class that is there is not changed
    assert (after[1] == 5).any()
    again = everything(server, model="tissues", whole=True)
    assert again["result"]["objects"] == []
    server.ask("PATCH", "/objects/7", {"locked": True})
    server.do("undo")
    assert np.array_equal(server.labels(), after)


def test_cases_are_not_opened_with_it(server: Server) -> None:
    image = server.image()
    answer = server.http.post("/v1/sessions", json={"image_id": image, "model": "tissues"})
    assert answer.status_code == 422
    assert "takes no prompts" in answer.text
    assert "mini" in answer.text
    assert not list((server.workspace.settings.project / "sessions").glob("*"))


def test_objects_without_names_are_looked_for_on_one_frame(server: Server) -> None:
    server.open()
    said = server.do("everything", 422, frame=0, whole=True)
    assert "one frame" in json.dumps(said)
    server.do("everything", 404, frame=0, model="none-such")


def test_a_server_does_not_start_with_it(
    probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["serve", "--model", str(probe), "--project", str(tmp_path / "project"), "--port", "0"]
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "takes no prompts" in said
    assert "--add-model" in said


def test_monai_label_has_it_among_the_automatic_ones(server: Server, probe: Path) -> None:
    monai = MonaiClient(server)
    about = monai.ask("GET", "/info/").json()["models"]["tissues"]
    assert (about["type"], about["labels"], about["dimension"]) == (
        "segmentation",
        list(CLASSES),
        3,
    )
    server.image()
    said, found = monai.infer("tissues", {"result_extension": ".nrrd"}, image="ct")
    assert said["label_names"] == {"wall": 1, "block": 2}
    alone = ss.everything(
        ss.read(server.workspace.settings.roots[0] / "ct.nii.gz"), ss.load(probe, device="cpu")
    )
    assert np.array_equal(found, np.stack(list(alone.iter_labels())))


def test_what_was_found_waits_for_a_person(server: Server) -> None:
    """Masks of a network are queued for review until they are accepted or corrected."""
    server.open()
    everything(server, model="tissues", whole=True)
    state = server.ask("GET", "/state")
    assert state["reviewed"][0] == 0
    scores = [row[2] for item in state["objects"] for row in item["frames"]]
    assert all(0 < score < 1 for score in scores)
    (first, *_) = server.ask("GET", "/review?count=50")
    server.do("accept", frames=[first["frame"]])
    assert server.ask("GET", "/state")["reviewed"][0] == 2
    other = next(frame for frame in range(7) if frame != first["frame"])
    server.do("predict", frame=other, object_id=1, points=[[30, 30, 1]])
    assert server.ask("GET", "/state")["reviewed"][0] == 3
    # carried over to another session they still wait
    server.open(model="mini", start_from=server.session_id, new=True)
    assert server.ask("GET", "/state")["reviewed"][0] == 3


def test_cvat_gets_a_detector(serve: Callable[..., Server], probe: Path) -> None:
    server = serve(models={"tissues": str(probe)}, compat=("cvat",), compat_open=True)
    function = server.http.get("/api/functions/segscope-tissues").json()
    annotations = function["metadata"]["annotations"]
    assert annotations["type"] == "detector"
    assert [label["name"] for label in json.loads(annotations["spec"])] == list(CLASSES)
    answer = server.http.post(
        "/api/function_invocations",
        json={"image": to_base64(bright_block())},
        headers={"x-nuclio-function-name": "segscope-tissues"},
    )
    assert answer.status_code == 200, answer.text
    total = 0
    for detection in answer.json():
        assert detection["label"] in CLASSES
        assert 0 <= float(detection["confidence"]) <= 1
        *pixels, left, top, right, bottom = detection["mask"]
        assert len(pixels) == (right - left + 1) * (bottom - top + 1)
        total += sum(pixels)
    assert 0 < total <= 64 * 96
