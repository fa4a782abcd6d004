"""Leases: one window at a time, given up after a rest; sessions outlive them and the server."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..conftest import Server

BOX = [20, 20, 40, 40]


def test_commands_need_the_lease_and_looking_does_not(server: Server) -> None:
    server.open()
    lease = server.headers.pop("X-Lease")
    said = server.do("predict", 410, frame=3, boxes=[BOX])
    assert said["kind"] == "Expired"
    server.ask("GET", "/state")
    server.headers["X-Lease"] = "ünknown".encode()  # type: ignore[assignment]
    server.do("undo", 410)
    server.headers["X-Lease"] = lease
    server.do("predict", frame=3, boxes=[BOX])


def test_one_window_at_a_time(server: Server) -> None:
    first = server.open(annotator="anna")
    wanted = {"image_id": server.image_id, "annotator": "anna"}
    answer = server.http.post("/v1/sessions", json=wanted)
    assert answer.status_code == 409
    assert "another window" in answer.json()["detail"]
    answer = server.http.post("/v1/sessions", json={**wanted, "take_over": True})
    assert answer.json()["session_id"] == first
    assert answer.json()["resumed"]
    server.do("undo", 410)
    server.headers["X-Lease"] = answer.json()["lease"]
    server.do("predict", frame=3, boxes=[BOX])


def test_another_annotator_has_another_session(server: Server) -> None:
    first = server.open(annotator="anna")
    assert server.open(annotator="ben") != first
    rows = server.http.get("/v1/sessions", params={"annotator": "anna"}).json()
    assert [(row["session_id"], row["in_use"]) for row in rows] == [(first, True)]


def test_rest_and_silence_end_it(serve: Callable[..., Server]) -> None:
    server = serve(idle_timeout_s=0.6, liveness_s=0.4)
    server.open()
    for _ in range(3):
        time.sleep(0.15)
        server.ask("POST", "/heartbeat")
    time.sleep(0.3)
    server.ask("POST", "/heartbeat", status=410)  # alive, but nothing was done
    server.open()
    time.sleep(0.5)
    server.do("predict", 410, frame=3, boxes=[BOX])
    assert server.http.get("/v1/sessions").json()[0]["in_use"] is False


def test_when_all_places_are_taken(serve: Callable[..., Server]) -> None:
    server = serve(max_sessions=1)
    server.open(annotator="anna")
    answer = server.http.post(
        "/v1/sessions", json={"image_id": server.image_id, "annotator": "ben"}
    )
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    server.ask("DELETE", "", status=204)
    server.open(annotator="ben")


def test_a_lease_outlives_the_server(serve: Callable[..., Server]) -> None:
    server = serve()
    session, lease = server.open(), server.headers["X-Lease"]
    server.do("predict", frame=3, boxes=[BOX])
    labels = server.labels()
    server = serve()
    server.session_id, server.headers["X-Lease"] = session, lease
    assert np.array_equal(server.labels(), labels)
    assert server.do("undo", frame=3)["can_redo"] == 1


def test_sessions_are_closed_and_opened_again_as_memory_wants(serve: Callable[..., Server]) -> None:
    server = serve(open_sessions=1)
    first = server.open(annotator="anna")
    lease = server.headers["X-Lease"]
    server.do("predict", frame=3, boxes=[BOX])
    server.propagate()
    labels = server.labels()
    server.open(annotator="ben")
    server.do("predict", frame=2, boxes=[BOX])
    rows = {row["annotator"]: row["open"] for row in server.http.get("/v1/sessions").json()}
    assert rows == {"anna": False, "ben": True}
    server.session_id, server.headers["X-Lease"] = first, lease
    assert np.array_equal(server.labels(), labels)
    server.do("undo")
    assert not server.labels()[2].any()


def test_an_erased_session_is_in_the_trash(server: Server) -> None:
    session = server.open()
    server.do("predict", frame=3, boxes=[BOX])
    server.ask("DELETE", "?erase=true", status=204)
    server.ask("GET", "", status=404)
    assert (server.workspace.settings.project / "trash" / session / "log.jsonl").is_file()
    assert server.open() != session
