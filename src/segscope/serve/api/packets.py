"""Packets: a JSON header and bytes in one message, on the socket and in streams of jobs."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

from segscope.serve.answers import JobStatus
from segscope.serve.sessions.events import Event


def packet(header: Mapping[str, object], payload: bytes = b"") -> bytes:
    """Length of the header (4 bytes, big-endian), the header as JSON, the payload."""
    text = json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text + payload


def event_to_json(event: Event) -> Mapping[str, object]:
    """An event as clients get it."""
    if isinstance(event, JobStatus):
        return {"type": "job", **event.model_dump()}
    return event
