"""Nuclio's interface as CVAT calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.pictures import block_mask, bright_block, overlap, to_base64

from segscope.serve.secret_paths import base_path

from ...conftest import Server


class CvatClient:
    """CVAT's gateway to Nuclio, with its headers and texts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = server.http
        self.http.headers.pop("Authorization")
        self.base = f"/{base_path(server.workspace.settings, 'cvat')}"

    def list(self) -> dict[str, Any]:
        answer = self.http.get(f"{self.base}api/functions")
        assert answer.status_code == 200, answer.text
        functions: dict[str, Any] = answer.json()
        return functions

    def invoke(self, status: int = 200, function: str = "segscope-mini", **payload: Any) -> Any:
        body = {"pos_points": [], "neg_points": [], "obj_bbox": None, **payload}
        answer = self.http.post(
            f"{self.base}api/function_invocations",
            json=body,
            headers={
                "x-nuclio-project-name": "cvat",
                "x-nuclio-function-namespace": "nuclio",
                "x-nuclio-invoke-via": "domain-name",
                "x-nuclio-function-name": function,
                "x-nuclio-path": "/",
            },
        )
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def cvat(serve: Callable[..., Server]) -> CvatClient:
    return CvatClient(serve(compat=("cvat",)))


def test_functions_as_cvat_reads_them(cvat: CvatClient) -> None:
    functions = cvat.list()
    assert "segscope-mini" in functions
    for name, function in functions.items():
        annotations = function["metadata"]["annotations"]
        assert function["metadata"]["name"] == name
        assert annotations["type"] == "interactor"
        assert json.loads(annotations["spec"] or "[]") == []
        assert int(annotations["version"]) == 2
        assert int(annotations["min_pos_points"]) == 0
        assert int(annotations["min_neg_points"]) == 0
        assert annotations["startswith_box"] == "true"
        assert function["status"]["state"] == "ready"
        assert function["spec"]["description"]
    one = cvat.http.get(f"{cvat.base}api/functions/segscope-mini")
    assert one.json() == functions["segscope-mini"]
    assert cvat.http.get(f"{cvat.base}api/functions/nothing").status_code == 404


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "prompts",
    [
        {"obj_bbox": [[20, 10], [50, 30]]},
        {"obj_bbox": [[50, 30], [20, 10]], "pos_points": [[35.5, 20.5]]},
        {"pos_points": [[35, 20], [30, 15]], "neg_points": [[80, 50]]},
    ],
)
def test_a_mask_of_the_whole_picture(
    cvat: CvatClient, file_format: str, prompts: dict[str, Any]
) -> None:
    answer = cvat.invoke(image=to_base64(bright_block(), file_format), **prompts)
    mask = np.array(answer["mask"])
    assert mask.shape == (64, 96)
    assert set(np.unique(mask)) <= {0, 1}
    assert overlap(mask > 0, block_mask()) > 0.6


def test_negative_points_alone_give_an_empty_mask(cvat: CvatClient) -> None:
    answer = cvat.invoke(image=to_base64(bright_block()), neg_points=[[35, 20]])
    assert not np.any(answer["mask"])


def test_a_picture_is_decoded_once(cvat: CvatClient, monkeypatch: pytest.MonkeyPatch) -> None:
    image = to_base64(bright_block())
    first = cvat.invoke(image=image, pos_points=[[35, 20]])

    def refuse(*_: object) -> None:
        raise AssertionError("the picture was decoded again")

    monkeypatch.setattr("segscope.serve.compat.pictures.read_sandboxed", refuse)
    assert cvat.invoke(image=image, pos_points=[[35, 20]]) == first


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"image": "?"}, 422),
        ({"image": "aGVsbG8="}, 422),
        ({"image": to_base64(bright_block())[:400], "pos_points": [[35, 20]]}, 422),
        ({"image": to_base64(bright_block())}, 422),
        ({"image": to_base64(bright_block()), "pos_points": [[900, 20]]}, 422),
        ({"image": to_base64(bright_block()), "pos_points": [["a", 20]]}, 422),
        ({"image": to_base64(bright_block()), "function": "segscope-nothing"}, 404),
        ({}, 422),
    ],
)
def test_wrong_requests(cvat: CvatClient, payload: dict[str, Any], status: int) -> None:
    assert cvat.invoke(status, **payload)["detail"]
    uploads = cvat.server.workspace.settings.project / "uploads"
    assert list(uploads.iterdir()) == []
    assert cvat.server.workspace.images.list_stored() == []


class TestCredentials:
    def test_a_path_without_the_secret_is_refused(self, cvat: CvatClient) -> None:
        for path in ("/cvat/api/functions", "/cvat/wrong/api/functions", "/api/functions"):
            answer = cvat.http.get(path)
            assert answer.status_code == 401, path
            assert "secret" in answer.json()["detail"]

    def test_credentials_in_the_address_of_nuclio_are_accepted(self, cvat: CvatClient) -> None:
        secret = cvat.base.removeprefix("/cvat/").removesuffix("/")
        requests = pytest.importorskip("requests")  # what CVAT sends its requests with
        url = f"http://cvat:{secret}@127.0.0.1:8484/api/functions"
        headers = requests.Session().prepare_request(requests.Request("GET", url)).headers
        answer = cvat.http.get("/api/functions", headers=dict(headers))
        assert answer.json() == cvat.list()
        assert cvat.http.get("/api/functions", auth=("cvat", "wrong")).status_code == 401

    def test_open_to_everybody_on_request(self, serve: Callable[..., Server]) -> None:
        server = serve(compat=("cvat",), compat_open=True)
        server.http.headers.pop("Authorization")
        assert "segscope-mini" in server.http.get("/api/functions").json()
        assert "segscope-mini" in server.http.get("/cvat/api/functions").json()
        assert server.http.get("/v1/images").status_code == 401

    def test_a_server_without_the_interface(self, serve: Callable[..., Server]) -> None:
        server = serve(compat=("monailabel",))
        for path in ("/api/functions", "/cvat/api/functions", "/qupath/version/"):
            assert server.http.get(path).status_code == 404
