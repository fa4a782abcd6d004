"""The documentation of the server: its requests exist, are served, and have its fields."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest

from .conftest import TOKEN, Server

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "server.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "api.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, Any] = json.loads((DOCS / "api_examples.json").read_text(encoding="utf-8"))

HEADING = re.compile(r"^### `([A-Z]+) (/v1/\S*)`$", re.MULTILINE)
SPAN = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/v1/[^`\s]*)`(?: `(\{[^`]*\})`)?")
QUERIES = {
    "GET /v1/cases/next": "?after=3",
    "GET /v1/sessions/{session_id}/masks": "?frame=60&encoding=rle",
    "GET /v1/sessions/{session_id}/prompts": "?frame=60&object_id=1",
    "GET /v1/sessions/{session_id}/export": "?format=nifti&objects=1",
    "GET /v1/images/{image_id}/frames/{frame}": "?format=png",
    "GET /v1/images/{image_id}/volume": "?step=2",
}


class Request(NamedTuple):
    """One request of the documentation: its body as the text has it, or empty."""

    method: str
    path: str
    body: str


def mentioned() -> list[Request]:
    """The requests that the text about the server mentions."""
    return [Request(*groups) for groups in SPAN.findall(TEXT)]


def referenced() -> list[tuple[str, str]]:
    """(method, path) of the reference, in its order."""
    return HEADING.findall(REFERENCE)


def keys(text: str) -> list[str]:
    """Names of the fields of an object that is written down with some of its values."""
    names, depth, at = [], 0, 0
    while at < len(text):
        if text[at] == '"':
            end = text.index('"', at + 1)
            if depth == 1 and text[:at].rstrip()[-1] in "{,":
                names.append(text[at + 1 : end])
            at = end
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(text[at], 0)
        at += 1
    return names


def pattern(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path.split("?")[0])


def fields(schema: dict[str, Any], api: dict[str, Any]) -> set[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return set(api["components"]["schemas"][name]["properties"])
    return set(schema.get("properties", ()))


def body_fields(call: dict[str, Any], api: dict[str, Any]) -> set[str]:
    (content,) = call["requestBody"]["content"].values()
    return fields(content["schema"], api)


@pytest.fixture
def large(serve: Callable[..., Server], tmp_path: Path) -> Server:
    """A server with a volume that has the places which the document names."""
    folder = tmp_path / "scans" / "case1"
    folder.mkdir(parents=True)
    volume = np.random.default_rng(0).integers(-50, 50, (300, 260, 64)).astype(np.int16)
    volume[212:271, 180:240, 55:63] += 300
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.7, 0.7, 2.5, 1.0])), folder / "ct.nii.gz")
    server = serve(roots=(tmp_path / "scans",))
    server.open("case1/ct.nii.gz")
    server.do("predict", frame=3, object_id=2, boxes=[[20, 20, 50, 50]])
    server.do("predict", frame=60, object_id=1, points=[[230.5, 200.5, 1]])
    return server


def test_the_reference_is_that_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_api_reference.py", str(tmp_path / "api.md")])
    runpy.run_path(str(DOCS / "make_api_reference.py"), run_name="__main__")
    assert (tmp_path / "api.md").read_text() == REFERENCE, "run `make docs`"


def test_the_documentation_and_the_server_name_the_same_requests(server: Server) -> None:
    api = server.http.get("/v1/openapi.json").json()
    calls = {
        (method.upper(), pattern(path)): call
        for path, methods in api["paths"].items()
        for method, call in methods.items()
    }
    assert {(method, pattern(path)) for method, path in referenced()} == set(calls)
    assert mentioned()
    for request in mentioned():
        call = calls[request.method, pattern(request.path)]
        query = {item["name"] for item in call.get("parameters", ()) if item["in"] == "query"}
        assert set(re.findall(r"[?&](\w+)=", request.path)) <= query, request
        if request.body and "requestBody" in call:
            assert set(keys(request.body)) <= body_fields(call, api), request
    for request, body in EXAMPLES.items():
        method, path = request.split(" ")
        assert set(body) <= body_fields(calls[method, pattern(path)], api), request


# what needs examples or suggestions: in api/test_routes_examples.py and sessions/test_find_all.py
ELSEWHERE = ("/examples/file", "/find_all", "/accept_suggestions", "/reject", "/review")


def executable() -> Iterator[tuple[str, str]]:
    """The requests of the reference, those last that end something."""
    skipped = ("/v1/images", "/v1/sessions")  # by POST; the fixture sent both

    def place(request: tuple[str, str]) -> tuple[bool, bool]:
        return request[0] == "DELETE", request[1] == "/v1/sessions/{session_id}"

    for method, path in sorted(referenced(), key=place):
        if "dicomweb" in path:
            continue  # tested with an archive in test_dicomweb.py
        if path.endswith(ELSEWHERE):
            continue
        if not (method == "POST" and path in skipped):
            yield method, path


def stop(server: Server, job_id: str) -> None:
    """Cancel a job, and wait for its end."""
    server.http.delete(f"/v1/jobs/{job_id}")
    assert server.workspace.jobs.get(job_id).wait(60)


def test_every_request_of_the_reference_is_served(large: Server) -> None:
    case = large.http.post("/v1/cases", json={"image_id": large.image_id}).json()
    ids = {
        "image_id": large.image_id,
        "session_id": large.session_id,
        "case_id": case["case_id"],
        "root": 0,
        "frame": 17,
        "object_id": 1,
    }
    count = 0
    for method, path in executable():
        if "job_id" in path:
            ids["job_id"] = large.do("embed", 202, frames=[60])["job_id"]
        request = f"{method} {path}"
        body = EXAMPLES.get(request)
        if body and "token" in body:
            body = {"token": TOKEN}
        if body and "image_id" in body:
            body = {**body, "image_id": large.image_id}
        url = path.format(**ids) + QUERIES.get(request, "")
        answer = large.http.request(method, url, json=body, headers=large.headers)
        count += 1
        assert answer.status_code < 300, (request, body, answer.text)
        if path.endswith(("propagate", "everything", "rebuild")):
            stop(large, answer.json()["job_id"])
        elif path.endswith("correct"):
            stop(large, answer.json()["job"])
    assert count >= 50


def test_bodies_and_answers_that_are_shown(large: Server) -> None:
    texts = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    blocks = [json.loads(text) for text in texts if "[...]" not in text]
    prompts = next(block for block in blocks if "points" in block)
    shown = next(block for block in blocks if "candidates" in block)
    state = next(block for block in blocks if "interrupted" in block)
    opened = next(block for block in blocks if "liveness_s" in block)
    part = next(block for block in blocks if "data" in block)
    large.session_id, large.headers["X-Lease"] = "", ""
    answer = large.http.post(
        "/v1/sessions", json={"image_id": large.image_id, "take_over": True}
    ).json()
    assert set(answer) == set(opened)
    large.session_id, large.headers["X-Lease"] = answer["session_id"], answer["lease"]
    answer = large.do("predict", **prompts)
    assert set(shown) <= set(answer)
    found = large.ask("GET", "/state")
    assert set(state) <= set(found)
    assert set(state["objects"][0]) <= set(found["objects"][0])
    (mask,) = large.ask("GET", "/masks?frame=60&encoding=bits")
    assert set(part) <= set(mask)
    image = large.http.get(f"/v1/images/{large.image_id}").json()
    wanted = re.search(r'(?s)\{"image_id": "3f0c.*?"notes": \[\]\}', TEXT)
    assert wanted is not None
    assert set(keys(wanted[0])) == set(image)
