from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.learning import box_of, draw_pair

from segscope.prompts import MaskPrompt
from segscope.session.commands import Add

from ..conftest import Server

NEW = 20  # seed of an image that is no example


def open_pair(server: Server, scans: Path, seed: int) -> Any:
    stack, truth = draw_pair(seed)
    Image.fromarray(np.asarray(stack[0])).save(scans / f"pair{seed}.png")
    server.open(f"pair{seed}.png", take_over=True, new=True)
    server.ask("POST", "/objects", {"label": "pair", "object_id": 1}, 201)
    return truth


@pytest.fixture
def taught(server: Server, scans: Path) -> Server:
    """A server with three accepted pairs, and a session on a fourth."""
    for seed in range(3):
        truth = open_pair(server, scans, seed)
        with server.workspace.sessions.use(server.session_id) as session:
            session.execute(Add((MaskPrompt(truth, 0, 1),)))
        server.do("accept", frames=[0], object_ids=[1])
    open_pair(server, scans, NEW)
    assert server.workspace.example_updates.wait(60)
    return server


def hover(server: Server) -> Any:
    box = list(box_of(draw_pair(NEW)[1]).xyxy)
    return server.do("hover", frame=0, object_id=1, boxes=[box])


def test_the_examples_of_a_project(taught: Server) -> None:
    answer = taught.http.get("/v1/examples").json()
    assert (answer["model"], answer["updating"], answer["imported"]) == ("mini", False, 0)
    (label,) = answer["labels"]
    assert (label["label"], label["count"], label["images"]) == ("pair", 3, 3)
    assert [each["name"] for each in label["clicks"]] == ["pair0.png", "pair1.png", "pair2.png"]
    assert [each["prompts"] for each in label["clicks"]] == [1, 1, 1]
    assert taught.http.get("/v1/examples?model=none").status_code == 404


def test_a_session_can_do_without(taught: Server) -> None:
    assert hover(taught)["learned"] == 3
    answer = taught.ask("PUT", "/learning", {"learns": False})
    assert answer["learns"] is False
    assert hover(taught)["learned"] == 0
    with taught.socket() as socket:
        socket.send_json({"type": "hello", "lease": taught.headers["X-Lease"]})
        socket.receive_json()
        socket.send_json({"type": "learning", "seq": 7, "learns": True})
        answer = socket.receive_json()
        assert (answer["reason"], answer["seq"]) == ("learning", 7)
        assert answer["learning"]["learns"]
    assert hover(taught)["learned"] == 3


def test_forgotten_examples_come_back_when_they_are_rebuilt(taught: Server) -> None:
    answer = taught.http.delete("/v1/examples?label=pair").json()
    assert answer["labels"] == []
    assert hover(taught)["learned"] == 0
    job = taught.http.post("/v1/examples/rebuild").json()["job_id"]
    assert taught.workspace.jobs.get(job).wait(60)
    assert hover(taught)["learned"] == 3


def test_a_file_of_examples_goes_from_one_label_list_to_another(taught: Server) -> None:
    file = taught.http.get("/v1/examples/file?label=pair")
    assert file.status_code == 200
    assert taught.http.get("/v1/examples/file?label=other").status_code == 422
    taught.http.delete("/v1/examples")
    answer = taught.http.post("/v1/examples/file", content=file.content).json()
    assert answer["imported"] == 3
    assert taught.workspace.example_updates.wait(60)
    assert hover(taught)["learned"] == 3
    damaged = taught.http.post("/v1/examples/file", content=file.content[:500])
    assert (damaged.status_code, "damaged" in damaged.json()["detail"]) == (422, True)
    assert str(taught.workspace.settings.project) not in damaged.json()["detail"]


def test_open_sessions_hear_of_new_examples(taught: Server) -> None:
    events: list[dict[str, Any]] = []

    def listen(event: Any, _payload: bytes | None) -> None:
        events.append(json.loads(json.dumps(event)))

    taught.workspace.events.subscribe(taught.session_id, listen)
    with taught.workspace.sessions.use(taught.session_id) as session:
        session.execute(Add((MaskPrompt(draw_pair(NEW)[1], 0, 1),)))
    taught.do("accept", frames=[0], object_ids=[1])
    assert taught.workspace.example_updates.wait(60)
    first, *_, last = [event for event in events if event["type"] == "examples"]
    assert (first["updating"], last["updating"]) == (True, False)
    assert last["labels"][0]["count"] == 4
