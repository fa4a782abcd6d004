"""Sessions after a crash: masks at once, states behind them, and the one used last first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segscope.serve.project import database as database_module
from segscope.serve.sessions import session_rows
from segscope.session.undo import History

from ..conftest import Server

BOX = [20, 20, 40, 40]
Serve = Callable[..., Server]


def crash(server: Server) -> None:
    """Stop a server as a crash does: no state is saved."""
    for path in (server.workspace.settings.project / "sessions").glob("*/state.safetensors"):
        path.unlink()


@pytest.fixture
def crashed(serve: Serve) -> tuple[Server, Any]:
    """A server after a crash, and the labels of the session that was open."""
    server = serve()
    server.open()
    server.do("predict", frame=3, object_id=1, boxes=[BOX])
    server.propagate()
    server.do("predict", frame=5, object_id=1, points=[[38, 24, 0]])
    labels = server.labels()
    server.workspace.close()
    crash(server)
    again = serve()
    again.open(take_over=True)
    return again, labels


def test_masks_are_read_while_states_are_computed(
    crashed: tuple[Server, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, labels = crashed
    go_on = threading.Event()
    replay = History.replay_pending

    def slow(history: History, pause: Any) -> Any:
        assert go_on.wait(30)
        return replay(history, pause)

    monkeypatch.setattr(History, "replay_pending", slow)
    assert np.array_equal(server.labels(), labels)
    state = server.ask("GET", "/state")
    assert (state["can_undo"], state["opening"]) == (3, None)
    assert server.http.get(f"/v1/sessions/{server.session_id}/export").status_code == 200
    answers: list[Any] = []
    click = threading.Thread(
        target=lambda: answers.append(
            server.do("predict", frame=4, object_id=1, points=[[38, 24, 0]])
        )
    )
    click.start()
    time.sleep(0.1)
    assert not answers  # a command waits for the states, and readers do not
    assert np.array_equal(server.labels(), labels)
    go_on.set()
    click.join(60)
    assert answers[0]["can_undo"] == 4
    assert server.ask("GET", "/state")["network"] is None


def test_the_masks_stay_the_same_when_states_are_there(crashed: tuple[Server, Any]) -> None:
    server, labels = crashed
    server.labels()
    with server.workspace.sessions.use(server.session_id) as session:
        end = time.monotonic() + 30
        while session.work.history.is_pending and time.monotonic() < end:
            time.sleep(0.01)
        assert not session.work.history.is_pending
        assert session.unsaved_s > 0  # so that the next opening has them at once
    assert np.array_equal(server.labels(), labels)


def test_states_that_cannot_be_computed_block_nothing(
    serve: Serve, crashed: tuple[Server, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, labels = crashed

    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(History, "replay_pending", fail)
    server.do("predict", frame=2, object_id=2, points=[[62, 17, 1]])
    state = server.ask("GET", "/state")
    assert state["can_undo"] == 4
    after = server.labels()
    assert np.array_equal(after == 1, labels == 1)
    assert (after == 2).any()


@pytest.mark.parametrize("how", ["server", "session"])
def test_what_is_computed_behind_is_given_up_at_the_end(
    serve: Serve, crashed: tuple[Server, Any], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    server, labels = crashed
    begun = threading.Event()
    replay = History.replay_pending

    def watched(history: History, pause: Any) -> Any:
        begun.set()
        while True:  # raises Cancelled when the server stops
            time.sleep(0.01)
            pause(0, 1)

    monkeypatch.setattr(History, "replay_pending", watched)
    server.labels()
    assert begun.wait(30)
    start = time.monotonic()
    if how == "server":
        server.workspace.close()
        again = serve()
        again.open(take_over=True)
        monkeypatch.setattr(History, "replay_pending", replay)
        assert np.array_equal(again.labels(), labels)
    else:
        server.ask("DELETE", "?erase=true", status=204)
    assert time.monotonic() - start < 10


def test_the_session_used_last_comes_first_whatever_the_clock_says(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_clock(seconds: float) -> None:
        for module in (database_module, session_rows):
            monkeypatch.setattr(module, "now", lambda: seconds)

    set_clock(2e9)
    first = server.open("cells.png", new=True)
    server.do("predict", object_id=1, boxes=[[22, 12, 48, 28]])
    set_clock(1e9)
    second = server.open("cells.png", new=True)
    assert server.open("cells.png", take_over=True) == second
    listed = server.http.get("/v1/sessions").json()
    assert [item["session_id"] for item in listed] == [second, first]
    server.session_id = first
    lease = server.workspace.sessions.leases.claim(first, take_over=True)
    server.headers["X-Lease"] = lease.token
    set_clock(1.0)
    server.do("undo")
    assert server.open("cells.png", take_over=True) == first


def test_a_killed_server_leaves_no_export(serve: Serve) -> None:
    server = serve()
    leftover = server.workspace.temporary_folder / "export-abc"
    leftover.mkdir()
    (leftover / "masks.nii.gz").write_bytes(b"masks of a patient")
    server.open("cells.png")
    server.do("predict", object_id=1, boxes=[[22, 12, 48, 28]])
    with server.workspace.session_service.export(server.session_id, "npz") as file:
        assert file.path.is_relative_to(server.workspace.settings.project)
    serve()
    assert not leftover.exists()
