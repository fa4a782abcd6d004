"""A full disk: a command counts once or not at all, and nothing stays blocked."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segscope.errors import WriteError
from segscope.prompts import MaskPrompt
from segscope.serve.api.command_schemas import COMMANDS
from segscope.serve.project.database import Database
from segscope.session import command_log
from segscope.session.suggestions import Suggest

from ..conftest import Server

Step = Callable[[Server, int], Any]
BOX = [20, 20, 40, 40]
SIZE_HW = (60, 80)
SUGGESTED = 9
POINT = {"type": "point", "frame": 3, "xy": [30, 30]}

STEPS: dict[str, Step] = {
    "predict": lambda server, status: server.do(
        "predict", status, frame=3, object_id=1, points=[[38, 24, 0]]
    ),
    "correct": lambda server, status: server.do(
        "correct", status, frame=3, object_id=1, points=[[38, 24, 0]], repropagate=False
    ),
    "replace": lambda server, status: server.do(
        "replace", status, frame=3, object_id=1, prompts=[POINT]
    ),
    "choose": lambda server, status: server.do("choose", status, frame=3, object_id=2, index=1),
    "clear": lambda server, status: server.do("clear", status, frame=3, object_id=1),
    "paint": lambda server, status: server.do(
        "paint", status, frame=4, object_id=1, strokes=[{"xy": [[30, 30]], "width": 9}]
    ),
    "accept": lambda server, status: server.do("accept", status, frames=[2, 3]),
    "accept_suggestions": lambda server, status: server.do("accept_suggestions", status),
    "reject": lambda server, status: server.do("reject", status, object_ids=[2]),
    "review": lambda server, status: server.do("review", status, object_ids=[SUGGESTED]),
    "undo": lambda server, status: server.do("undo", status),
    "redo": lambda server, status: server.do("redo", status),
    "add object": lambda server, status: server.ask(
        "POST", "/objects", {"label": "new"}, 201 if status == 200 else status
    ),
    "change object": lambda server, status: server.ask(
        "PATCH", "/objects/1", {"label": "liver"}, status
    ),
    "remove object": lambda server, status: server.ask("DELETE", "/objects/1", None, status),
}


def worked(server: Server) -> None:
    """Two objects on two frames, a suggestion, and a command that can be redone."""
    server.open()
    suggestion = MaskPrompt(np.eye(*SIZE_HW) > 0, 5, SUGGESTED, score=0.5)
    with server.workspace.sessions.use(server.session_id) as session:
        session.execute(Suggest((suggestion,), {SUGGESTED: "line"}))
    server.do("predict", frame=2, object_id=1, boxes=[BOX])
    server.do("predict", frame=3, object_id=1, boxes=[BOX])
    server.do("predict", frame=3, object_id=2, points=[[62, 17, 1]])
    server.do("predict", frame=4, object_id=3, boxes=[BOX])
    server.do("undo")


def log_of(server: Server) -> bytes:
    return server.workspace.sessions.log_path(server.session_id).read_bytes()


@pytest.fixture
def full_log(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes the disk of the logs full, or not."""

    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = command_log.os

    def switch(full: bool) -> None:
        fake = SimpleNamespace(fsync=no_room, truncate=os.truncate)
        monkeypatch.setattr(command_log, "os", fake if full else real)

    return switch


@pytest.fixture
def full_database(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes the disk of the database full, or not."""
    real = Database._transaction

    @contextmanager
    def no_room(database: Database) -> Iterator[Any]:
        raise WriteError(f"cannot write {database.path}: database or disk is full")
        yield

    def switch(full: bool) -> None:
        monkeypatch.setattr(Database, "_transaction", no_room if full else real)

    return switch


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) <= set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_without_room_for_the_log_nothing_changes(
    server: Server, full_log: Callable[[bool], None], name: str
) -> None:
    worked(server)
    labels = server.labels()
    state = server.ask("GET", "/state")
    log = log_of(server)
    full_log(True)
    problem = STEPS[name](server, 507)
    assert "cannot write the log" in problem["detail"]
    assert log_of(server) == log
    assert np.array_equal(server.labels(), labels)
    after = server.ask("GET", "/state")
    for key in ("commands", "can_undo", "can_redo", "objects"):
        assert after[key] == state[key]
    full_log(False)
    STEPS[name](server, 200)
    assert log_of(server).startswith(log)


@pytest.mark.parametrize("name", STEPS)
def test_without_room_for_the_counters_a_command_counts_once(
    serve: Callable[..., Server], full_database: Callable[[bool], None], name: str
) -> None:
    server = serve()
    worked(server)
    lines = log_of(server).count(b"\n")
    full_database(True)
    STEPS[name](server, 200)
    added = 2 if name == "accept" else 1
    assert log_of(server).count(b"\n") == lines + added
    full_database(False)
    labels = server.labels()
    commands = server.ask("GET", "/state")["can_undo"]
    again = serve()
    again.open(take_over=True)
    assert np.array_equal(again.labels(), labels)
    assert again.ask("GET", "")["commands"] == commands  # the row was corrected


def test_propagation_without_room_for_the_log_is_taken_back(
    server: Server, full_log: Callable[[bool], None]
) -> None:
    worked(server)
    labels = server.labels()
    full_log(True)
    job_id = server.do("propagate", 202)["job_id"]
    job = server.workspace.jobs.get(job_id)
    assert job.wait(60)
    assert job.state == "failed"
    assert "cannot write the log" in job.detail
    assert np.array_equal(server.labels(), labels)
    shown = {patch.frame: patch for patch in job.patches()}
    assert shown[6].area == 0  # the masks that were sent are taken back
    full_log(False)
    server.do("predict", frame=5, object_id=1, boxes=[BOX])
    assert server.propagate()["state"] == "done"


def test_propagation_needs_no_room_in_the_database(
    server: Server, full_database: Callable[[bool], None]
) -> None:
    worked(server)
    full_database(True)
    assert server.propagate()["state"] == "done"
    assert server.labels()[6].any()
    server.do("predict", frame=5, object_id=1, points=[[38, 24, 0]])


@pytest.mark.parametrize("name", ["propagate", "everything"])
def test_a_job_that_cannot_start_blocks_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    worked(server)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == f"segscope-{name}":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert "try again later" in server.do(name, 503)["detail"]
    monkeypatch.undo()
    server.do("predict", frame=3, object_id=1, points=[[38, 24, 0]])
    assert server.propagate()["state"] == "done"


def test_masks_without_prompts_need_no_room_in_the_database(
    server: Server, full_database: Callable[[bool], None]
) -> None:
    server.open("cells.png")
    full_database(True)
    job_id = server.do("everything", 202)["job_id"]
    job = server.workspace.jobs.get(job_id)
    assert job.wait(60)
    assert job.state == "done", job.detail
    server.do("undo")


def test_a_correction_counts_although_it_cannot_be_propagated(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked(server)

    def refuse(*_: Any, **__: Any) -> None:
        raise WriteError("no room")

    monkeypatch.setattr(server.workspace.session_jobs, "propagate", refuse)
    answer = server.do("correct", frame=3, object_id=1, points=[[38, 24, 0]])
    assert answer["can_undo"] == 5
    assert answer["job"] is None
    assert "the correction counts, but was not propagated: no room" in answer["note"]


def test_a_session_that_cannot_be_listed_is_not_there(
    server: Server, full_database: Callable[[bool], None]
) -> None:
    image_id = server.image()
    full_database(True)
    answer = server.http.post("/v1/sessions", json={"image_id": image_id})
    assert answer.status_code == 507
    assert not list((server.workspace.settings.project / "sessions").iterdir())
    full_database(False)
    server.open()


def test_a_window_opens_although_its_lease_cannot_be_stored(
    server: Server, full_database: Callable[[bool], None]
) -> None:
    worked(server)
    full_database(True)
    server.open(take_over=True)
    server.do("undo")
