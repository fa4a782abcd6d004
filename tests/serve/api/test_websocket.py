"""The socket: commands in, masks out; late hovers are dropped, malformed messages answered."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segscope.client import MaskUpdate

from ..conftest import TOKEN, Server

BOX = [20, 20, 40, 40]


class Talk:
    """A client of the socket."""

    def __init__(self, server: Server, socket: Any) -> None:
        self.socket = socket
        self.masks: list[tuple[dict[str, Any], MaskUpdate]] = []
        self.news: list[dict[str, Any]] = []
        socket.send_json({"type": "hello", "lease": server.headers["X-Lease"], "token": TOKEN})
        assert socket.receive_json()["type"] == "hello"

    def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Read on to a message."""
        while True:
            got = self.socket.receive()
            if got.get("bytes") is not None:
                data = got["bytes"]
                size = struct.unpack(">I", data[:4])[0]
                header = json.loads(data[4 : 4 + size])
                self.masks.append((header, MaskUpdate.from_packet(header, data[4 + size :])))
                continue
            said = json.loads(got["text"])
            self.news.append(said)
            if said["type"] == kind and all(
                said.get(key) == value for key, value in fields.items()
            ):
                return said

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send_json({"type": kind, **fields})


def test_a_click_and_its_undo(server: Server) -> None:
    server.open()
    with server.socket() as socket:
        talk = Talk(server, socket)
        talk.say("predict", seq=8, frame=3, boxes=[BOX])
        said = talk.until("answer", seq=8)
        assert said["timing_ms"]["total"] > 0
        header, part = talk.masks[-1]
        assert (header["reason"], header["seq"], part.frame) == ("predict", 8, 3)
        canvas = np.zeros((60, 80), bool)
        part.apply_to(canvas)
        assert np.array_equal(server.labels()[3], canvas)
        talk.say("undo", seq=9, frame=3)
        talk.until("answer", seq=9)
        talk.masks[-1][1].apply_to(canvas)
        assert not canvas.any()


def test_a_propagation_is_seen_as_it_goes_and_cancelled(server: Server) -> None:
    server.open()
    with server.socket() as socket:
        talk = Talk(server, socket)
        talk.say("predict", frame=0, boxes=[[55, 10, 70, 25]])
        talk.until("answer")
        talk.say("propagate", seq=1)
        job = talk.until("answer", seq=1)["job"]
        talk.until("job", state="done", job_id=job)
        canvas = np.zeros((7, 60, 80), bool)
        for _, part in talk.masks:
            part.apply_to(canvas[part.frame])
        assert np.array_equal(server.labels().astype(bool), canvas)
        talk.say("cancel")
        assert talk.until("cancelled")["jobs"] == 0


def test_only_the_latest_hover_is_answered(server: Server) -> None:
    server.open("cells.png")
    with server.socket() as socket:
        talk = Talk(server, socket)
        for seq in range(30):
            talk.say("hover", seq=seq, points=[[20 + seq, 20, 1]])
        talk.until("answer", seq=29)
        answered = [said["seq"] for said in talk.news]
        assert answered == sorted(answered)
        assert len(answered) < 30
        assert server.ask("GET", "/state")["commands"] == 0


@pytest.mark.parametrize(
    "key", ["replace", "choose", "clear", "paint", "accept", "redo", "correct"]
)
def test_every_command_is_understood(server: Server, key: str) -> None:
    server.open("cells.png")
    bodies: dict[str, dict[str, Any]] = {
        "replace": {"frame": 0, "object_id": 1, "prompts": []},
        "choose": {"frame": 0, "object_id": 1, "index": 1},
        "clear": {"frame": 0, "object_id": 1},
        "paint": {"frame": 0, "object_id": 1, "strokes": [{"xy": [[5, 5]], "width": 4}]},
        "accept": {"frames": [0]},
        "redo": {},
        "correct": {"points": [[36, 21, 1]]},
    }
    with server.socket() as socket:
        talk = Talk(server, socket)
        talk.say("predict", points=[[35, 20, 1]])
        talk.until("answer")
        talk.say(key, seq=2, **bodies[key])
        assert talk.until("answer", seq=2)["reason"] == key
        talk.say("heartbeat")
        talk.until("heartbeat")


def test_wrong_messages_are_answered(server: Server) -> None:
    server.open()
    with server.socket() as socket:
        talk = Talk(server, socket)
        for text in (
            "nonsense",
            "[]",
            "1",
            '{"type": "fly"}',
            '{"type": 7}',
            "{}",
            '{"type":"predict","frame":-1}',
        ):
            socket.send_text(text)
            said = talk.until("error")
            assert said["status"] == 422
            assert "Traceback" not in said["detail"]
        socket.send_bytes(b"\0\1\2")
        talk.until("error")
        talk.say("predict", seq=3, frame=3, boxes=[BOX])
        talk.until("answer", seq=3)


def test_the_first_message_must_be_hello(server: Server) -> None:
    server.open()
    for first in (
        '{"type": "undo"}',
        "x",
        '{"type": "hello", "lease": 7}',
        json.dumps({"type": "hello", "token": TOKEN}),
    ):
        with server.socket() as socket:
            socket.send_text(first)
            assert socket.receive_json()["type"] == "error"


def test_a_lost_lease_is_told(server: Server) -> None:
    server.open(annotator="anna")
    with server.socket() as socket:
        talk = Talk(server, socket)
        wanted = {"image_id": server.image_id, "annotator": "anna", "take_over": True}
        assert server.http.post("/v1/sessions", json=wanted).status_code == 201
        talk.say("undo")
        talk.until("expired")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(
    ["frame", "object_id", "points", "boxes", "prompts", "index", "frames", "seq", "within", "bits"]
)
kinds = st.sampled_from(
    ["predict", "hover", "paint", "accept", "choose", "replace", "clear", "undo", "propagate"]
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(kinds, st.dictionaries(names, json_values, max_size=4)), max_size=8))
def test_any_message_is_survived(
    server: Server, messages: list[tuple[str, dict[str, Any]]]
) -> None:
    if not server.session_id:
        server.open("cells.png")
    with server.socket() as socket:
        talk = Talk(server, socket)
        for kind, fields in messages:
            socket.send_text(json.dumps({**fields, "type": kind}))
        talk.say("heartbeat", seq=77)
        talk.until("heartbeat", seq=77)
        for said in talk.news:
            assert said["type"] != "error" or said["status"] < 500, said
