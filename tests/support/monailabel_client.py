"""A client of MONAI Label's protocol."""

from __future__ import annotations

import io
import json
from email import message_from_bytes
from typing import Any

import nrrd
import numpy as np


class MonaiClient:
    """A client below /monailabel."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.server.http.request(method, f"/monailabel{path}", **more)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:300])
        return answer

    def infer(
        self, model: str, params: dict[str, Any], **query: Any
    ) -> tuple[dict[str, Any], np.ndarray]:
        """As 3D Slicer does: params in a form, params and a mask file back."""
        answer = self.ask(
            "POST", f"/infer/{model}", params=query, data={"params": json.dumps(params)}
        )
        parts = parts_of(answer)
        name, data = parts["image"]
        assert name.endswith(".nrrd")
        return json.loads(parts["params"][1]), nrrd_of(data)


def parts_of(answer: Any) -> dict[str, tuple[str, bytes]]:
    kind = answer.headers["content-type"]
    assert kind.startswith("multipart/form-data")
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + answer.content)
    found = {}
    for part in message.get_payload():  # type: ignore[union-attr]
        key = part.get_param("name", header="content-disposition")
        found[key] = (part.get_filename() or "", part.get_payload(decode=True))
    return found


def nrrd_of(data: bytes) -> np.ndarray:
    """(z, y, x)"""
    file = io.BytesIO(data)
    header = nrrd.read_header(file)
    return nrrd.read_data(header, file).T
