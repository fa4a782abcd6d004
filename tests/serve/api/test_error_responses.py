"""Hostile requests: each is answered by a paragraph, none by a 500."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from segscope.errors import ReadError
from segscope.serve.api.error_responses import error_answer
from segscope.serve.settings import ServerSettings

from ..conftest import Server

JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    3,
    2**31,
    2**63,
    2**70,
    1.5,
    1e308,
    "",
    "x",
    "1",
    "é\u202e",
    "../..",
    "' OR 1=1 --",
    "a" * 5000,
    [],
    [1],
    [[1, 2, 3]],
    [[1e308, -1e308, 1]],
    [None],
    {},
    {"a": 1},
    [{"type": "point", "xy": [1, 2]}],
    [{"type": "mask", "bits": "AAAA", "size_hw": [2, 2]}],
    [{"type": "box", "xyxy": [5, 5, 1, 1]}],
    {"bbox": [0, 0, 9, 9]},
)


def shape_of(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_any_request_is_survived(server: Server) -> None:
    server.open("cells.png")
    spec = server.http.get("/v1/openapi.json").json()
    chance = random.Random(1)
    known: dict[str, list[Any]] = {
        "session_id": [server.session_id],
        "image_id": [server.image_id],
        "frame": [0, 1],
        "object_id": [1, 2],
        "case_id": [1],
        "root": [0],
        "index": [0],
        "format": ["png", "nifti"],
    }

    def some(name: str) -> Any:
        return (
            chance.choice(known.get(name) or [chance.choice(JUNK)])
            if chance.random() < 0.6
            else chance.choice(JUNK)
        )

    asked = 0
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            for _ in range(5):
                where, query = path, {}
                for parameter in operation.get("parameters", ()):
                    value = some(parameter["name"])
                    if parameter["in"] == "path":
                        where = where.replace(f"{{{parameter['name']}}}", str(value)[:200] or "x")
                    elif parameter["in"] == "query" and chance.random() < 0.5:
                        query[parameter["name"]] = str(value)[:200]
                body = None
                content = operation.get("requestBody", {}).get("content", {})
                if "application/json" in content:
                    fields = shape_of(spec, content["application/json"]["schema"]).get(
                        "properties", {}
                    )
                    body = {name: some(name) for name in fields if chance.random() < 0.6}
                    body = body if chance.random() < 0.9 else chance.choice(JUNK)
                if "logout" in path or (method == "delete" and "session" in path):
                    continue
                answer = server.http.request(
                    method,
                    where,
                    params=query,
                    headers=server.headers,
                    **({} if body is None else {"content": json.dumps(body)}),
                )
                asked += 1
                assert answer.status_code < 500 or answer.status_code in (501, 503), (
                    method,
                    where,
                    query,
                    body,
                    answer.status_code,
                    answer.text[:300],
                )
                if answer.status_code >= 400:
                    assert set(answer.json()) == {"detail", "kind"}, answer.text
    assert asked > 150
    assert server.http.get("/v1/health").status_code == 200


def test_bodies_that_are_no_json(server: Server) -> None:
    server.open("cells.png")
    base = f"/v1/sessions/{server.session_id}/predict"
    for content in (
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"points": [[NaN, 1, 1]]}',
        b'{"points": [[Infinity, 1, 1]]}',
    ):
        answer = server.http.post(base, content=content, headers=server.headers)
        assert 400 <= answer.status_code < 500, (
            content[:20],
            answer.status_code,
            answer.text[:200],
        )
    for method in ("TRACE", "PUT", "BREW"):
        assert server.http.request(method, base).status_code in (404, 405)


def test_places_of_this_machine_are_hidden(tmp_path: Path) -> None:
    root = tmp_path / "scan"
    project = tmp_path / "scan" / "project"
    settings = ServerSettings(project, (root,))
    for text, expected in (
        (f"{root}/a.png: damaged", "a.png: damaged"),
        (f"{project}/models/bad: damaged", "models/bad: damaged"),
        (f"cannot read {root}: refused", "cannot read this folder: refused"),
        (f"cannot read {root}.", "cannot read this folder."),
        (f"cannot read {root}", "cannot read this folder"),
        (f"{tmp_path}/scanner/models/bad", f"{tmp_path}/scanner/models/bad"),
        (f"{root}.old/a and {root}-2", f"{root}.old/a and {root}-2"),
    ):
        _, body = error_answer(ReadError(text), settings)
        assert body["detail"] == expected
