"""Every request that docs/annotate.md names is one that the server takes, with the fields that it is said to have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import nibabel
import numpy as np
import pytest

from .conftest import TOKEN, Server

TEXT = (
    (Path(__file__).parents[2] / "docs" / "annotate.md")
    .read_text(encoding="utf-8")
    .replace("\\|", "|")
)
SPAN = re.compile(
    r"`((?:GET|POST|PUT|PATCH|DELETE) )?((?:/v1|\.\.\.)/[^`\s]*)(?: (\{[^`]*\}))?`(?:,? (?:\| )?`(\{[^`]*\}))?"
)
VALUES: dict[str, Any] = {
    "frame": 60, "object_id": 1, "index": 0, "name": "ours", "label": "liver", "colour": "#e69f00", "comment": "",
    "code": {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}, "image_id": "IMAGE", "seq": 7,
    "prompts": [{"type": "point", "xy": [231, 201]}], "path": "case1/ct.nii.gz", "root": 0,
    "bits": {"bbox": [1, 1, 2, 2], "data": "eJxrAAAAgQCB"}, "locked": False, "visible": True,
}  # fmt: skip


QUERY = {"frame": "60", "object_id": "1"}


class Asked(NamedTuple):
    """One request of the document: the body as its text has it, or None."""

    method: str
    path: str
    body: str | None


def requests() -> Iterator[Asked]:
    method = "GET"
    spans = SPAN.findall(TEXT)
    for (said, path, body, beside), following in zip(
        spans, [*spans[1:], ("GET", "", "", "")], strict=True
    ):
        method = said.strip() or method
        if (
            "dicomweb" in path
            or "dicomweb" in body + beside
            or path.endswith(("/v1/", "/live", "/openapi.json"))
        ):
            continue  # tested with an archive in test_dicomweb.py, and in test_live.py
        found = (
            body or beside or ("" if following[0] else following[3])
        )  # "`POST a`, `b` | `{body}`"
        takes = method in ("POST", "PUT", "PATCH") and not path.endswith("heartbeat")
        yield Asked(
            method, path.replace("...", "/v1/sessions/{id}", 1), found or None if takes else None
        )


def whole() -> list[Asked]:
    """Those of `requests`, but not those that are mentioned again without their body."""
    found = list(requests())
    full = {asked[:2] for asked in found if asked.body}
    return [asked for asked in found if asked.body or asked[:2] not in full]


def keys(text: str) -> list[str]:
    """Names of the fields of an object that is written down with some of its values."""
    found, depth, at = [], 0, 0
    while at < len(text):
        if text[at] == '"':
            end = text.index('"', at + 1)
            if depth == 1 and text[:at].rstrip()[-1] in "{,":
                found.append(text[at + 1 : end])
            at = end
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(text[at], 0)
        at += 1
    return found


def body_of(text: str) -> dict[str, Any]:
    try:
        whole: dict[str, Any] = json.loads(text)
    except ValueError:
        return {key: VALUES[key] for key in keys(text) if key in VALUES}
    return whole


def pattern(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path.split("?")[0])


def fields(schema: dict[str, Any], api: dict[str, Any]) -> set[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return (
        set(api["components"]["schemas"][name]["properties"])
        if name
        else set(schema.get("properties", ()))
    )


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


def test_the_document_and_the_server_name_the_same_requests(server: Server) -> None:
    api = server.http.get("/v1/openapi.json").json()
    there = {
        (method.upper(), pattern(path)): call
        for path, calls in api["paths"].items()
        for method, call in calls.items()
    }
    documented = {(asked.method, pattern(asked.path)) for asked in requests()}
    assert documented <= set(there)
    assert not {key for key in set(there) - documented if "dicomweb" not in key[1]}
    for asked in requests():
        call = there[asked.method, pattern(asked.path)]
        known = {item["name"] for item in call.get("parameters", ()) if item["in"] == "query"}
        assert set(re.findall(r"[?&](\w+)=", asked.path)) <= known, asked
        if asked.body and "requestBody" in call:
            (content,) = call["requestBody"]["content"].values()
            assert set(keys(asked.body)) <= fields(content["schema"], api), asked


def test_every_request_of_the_document_is_served(large: Server) -> None:
    ids = {"image_id": large.image_id, "id": large.session_id, "root": 0, "n": 3, "frame": 17, "object_id": 1,
           "case_id": large.http.post("/v1/cases", json={"image_id": large.image_id}).json()["case_id"]}  # fmt: skip
    skipped = []
    # what ends something comes last
    for asked in sorted(
        whole(), key=lambda asked: (asked.method == "DELETE", asked.path[-13:] == "sessions/{id}")
    ):
        if asked.path in ("/v1/images", "/v1/sessions") and asked.method == "POST":
            skipped.append(asked.path)  # the fixture did both
            continue
        if "job_id" in asked.path:
            ids["job_id"] = large.do("embed", 202, frames=[60])["job_id"]
        path, _, query = asked.path.format(**ids).partition("?")
        said = dict(item.split("=") for item in query.split("&") if item)
        said = {name: value.split("|")[0] or QUERY.get(name, "") for name, value in said.items()}
        path = f"{path}?{urlencode({name: value for name, value in said.items() if value})}"
        body = None if asked.body is None else body_of(asked.body)
        if asked.path.endswith("/login"):
            body = {"token": TOKEN}
        if asked.method == "PATCH" and asked.path.endswith("/objects/{object_id}"):
            body = {
                key: VALUES[key]
                for key in ("label", "colour", "code", "locked", "visible", "comment")
            }
        if asked.path.endswith(("/predict", "/correct", "/hover")):
            body = {"frame": 60, "object_id": 1, "boxes": [[212, 180, 271, 240]]}
        if body and body.get("image_id") == "IMAGE":
            body["image_id"] = large.image_id
        answer = large.http.request(asked.method, path, json=body, headers=large.headers)
        if asked.path.endswith("/cases/next?after=3"):
            assert answer.status_code == 404
            continue
        assert answer.status_code < 300, (asked, body, answer.text)
        if asked.path.endswith("/correct"):  # its propagation would refuse the next command
            assert large.workspace.jobs.get(answer.json()["job"]).wait(60)
        if asked.path.endswith(("propagate", "everything")):
            job = answer.json()["job_id"]
            large.http.delete(f"/v1/jobs/{job}")
            assert large.workspace.jobs.get(job).wait(60)
    assert len(skipped) < 5


def test_bodies_and_answers_that_are_shown(large: Server) -> None:
    blocks = [json.loads(text.replace("[...]", "[]").replace("{...}", "{}")) for text in
              re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL) if "[[...]" not in text]  # fmt: skip
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
