"""Packets: a header and bytes in one message."""

from __future__ import annotations

import json
import struct

from segscope.serve.api.packets import event_to_json, packet
from segscope.serve.sessions.jobs import Job


def test_a_packet_is_length_header_and_payload() -> None:
    data = packet({"type": "mask", "frame": 3}, b"\x01\x02")
    (size,) = struct.unpack(">I", data[:4])
    assert json.loads(data[4 : 4 + size]) == {"type": "mask", "frame": 3}
    assert data[4 + size :] == b"\x01\x02"


def test_the_status_of_a_job_names_its_type() -> None:
    event = event_to_json(Job("embed", "s", total=4).status())
    assert (event["type"], event["kind"], event["total"]) == ("job", "embed", 4)
    assert event_to_json({"type": "opening", "done": 1, "total": 2})["type"] == "opening"
