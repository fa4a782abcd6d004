"""The interface of QuPath's extension for SAM, by the extension's own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from support.pictures import block_mask, bright_block, encode_picture, overlap, to_base64

from segscope.io.polygons import fill_even_odd, from_corner_origin
from segscope.serve.secret_paths import base_path

from ...conftest import Server


class QuPathClient:
    """The extension's HTTP calls below the URL in its settings."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = server.http
        self.http.headers.pop("Authorization")
        self.base = f"/{base_path(server.workspace.settings, 'qupath')}"

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.http.get(f"{self.base}{path}")
        assert answer.status_code == status, answer.text
        return answer

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        headers = {"accept": "application/json", "Content-Type": "application/json; charset=utf-8"}
        answer = self.http.post(f"{self.base}{path}", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, dirname: str, name: str, content: bytes) -> Any:
        answer = self.http.post(
            f"{self.base}upload/", data={"dirname": dirname}, files={"file": (name, content)}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def qupath(serve: Callable[..., Server]) -> QuPathClient:
    return QuPathClient(serve(compat=("qupath",)))


def filled(feature: dict[str, Any], size_hw: tuple[int, int] = (64, 96)) -> np.ndarray:
    """The mask inside the outline of a feature."""
    assert feature["type"] == "Feature"
    geometry = feature["geometry"]
    assert geometry["type"] == "Polygon"
    (ring,) = geometry["coordinates"]
    assert ring[0] == ring[-1]
    return fill_even_odd([from_corner_origin(np.array(ring[:-1]))], size_hw)


def test_the_calls_at_the_start(qupath: QuPathClient) -> None:
    assert qupath.get("version/").text == "0.7.0"
    assert qupath.get("progress/").json()["percent"] == -1
    assert qupath.get("weights/cancel/").headers["content-type"].startswith("text/plain")
    weights = qupath.get("weights/?type=vit_l").json()
    assert {"name": "mini", "url": "segscope:mini", "type": "vit_l"} in weights
    body = {"type": "vit_l", "name": "mine", "url": "http://127.0.0.1:9/weights.pth"}
    answer = qupath.http.post(f"{qupath.base}weights/", json=body)
    assert answer.text.startswith("Not registered")


@pytest.mark.parametrize(
    "prompts",
    [
        {"bbox": [20, 10, 50, 30]},
        {"bbox": [20, 10, 50, 30], "point_coords": [[80, 50]], "point_labels": [0]},
        {"point_coords": [[35, 20], [80, 50]], "point_labels": [1, 0]},
    ],
)
def test_an_object(qupath: QuPathClient, prompts: dict[str, Any]) -> None:
    body = {"type": "vit_l", "b64img": to_base64(bright_block()), "multimask_output": False}
    (feature,) = qupath.post("", body | prompts)
    assert overlap(filled(feature), block_mask()) > 0.6
    properties = feature["properties"]
    assert properties["object_idx"] == 0
    assert properties["label"] == "object"
    assert 0 <= properties["quality"] <= 1
    assert properties["sam_model"] == "mini"


def test_candidates(qupath: QuPathClient) -> None:
    body = {"b64img": to_base64(bright_block()), "point_coords": [[35, 20]], "point_labels": [1]}
    features = qupath.post("", {**body, "multimask_output": True})
    assert len(features) > 1
    assert [feature["properties"]["object_idx"] for feature in features] == list(
        range(len(features))
    )


def test_background_alone_is_no_object(qupath: QuPathClient) -> None:
    body = {"b64img": to_base64(bright_block()), "point_coords": [[35, 20]], "point_labels": [0]}
    assert qupath.post("", body) == []


def test_everything(qupath: QuPathClient) -> None:
    body = {"type": "vit_h", "b64img": to_base64(bright_block()), "output_type": "Single Mask"}
    features = qupath.post("automask/", body)
    assert max(overlap(filled(feature), block_mask()) for feature in features) > 0.6
    strict = qupath.post("automask/", {**body, "pred_iou_thresh": 1.1})
    assert strict == []


def moving() -> Iterator[np.ndarray]:
    for number in range(3):
        yield np.roll(bright_block(), 4 * number, axis=1)


OBJECTS = {"0": [{"obj_id": 0, "bbox": [20, 10, 50, 30]}]}


def check_track(features: list[dict[str, Any]], plane_axis: str) -> None:
    found = {feature["geometry"]["plane"][plane_axis]: feature for feature in features}
    assert sorted(found) == [0, 1, 2]
    for number, feature in found.items():
        assert feature["properties"]["object_idx"] == 0
        assert overlap(filled(feature), np.roll(block_mask(), 4 * number, axis=1)) > 0.5


def test_a_sequence(qupath: QuPathClient) -> None:
    body = {"type": "sam2_t", "axes": "XYT", "plane_position": 5, "objs": OBJECTS}
    features = qupath.post("video/", {**body, "b64imgs": list(map(to_base64, moving()))})
    check_track(features, "t")
    assert features[0]["geometry"]["plane"] == {"c": -1, "z": 5, "t": 0}


def test_a_sequence_that_is_uploaded(qupath: QuPathClient) -> None:
    for number, pixels in enumerate(moving()):
        content = encode_picture(pixels, "PNG")
        answer = qupath.upload("../../stack", f"../{number}.png", content)
        assert answer == {"filename": f"../{number}.png"}
    uploads = qupath.server.workspace.settings.project / "uploads"
    assert [len(list(folder.iterdir())) for folder in uploads.iterdir()] == [3]
    body = {"type": "sam2_t", "dirname": "../../stack", "axes": "XYZ", "objs": OBJECTS}
    check_track(qupath.post("video/", body), "z")
    assert list(uploads.iterdir()) == []
    qupath.post("video/", body, 404)


def test_fewer_frames(qupath: QuPathClient) -> None:
    body = {"b64imgs": list(map(to_base64, moving())), "objs": OBJECTS}
    features = qupath.post("video/", {**body, "start_frame_idx": 0, "max_frame_num_to_track": 1})
    assert len(features) == 2


def test_text_prompts_are_not_supported(qupath: QuPathClient) -> None:
    for path in ("sam3/", "sam3video/"):
        assert "not by text" in qupath.post(path, {}, 501)["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {}),
        ("", {"b64img": "?"}),
        ("", {"b64img": to_base64(bright_block())}),
        ("", {"b64img": to_base64(bright_block()), "bbox": [1, 2, 3]}),
        ("", {"b64img": to_base64(bright_block()), "bbox": [900, 900, 910, 910]}),
        ("", {"b64img": to_base64(bright_block()), "checkpoint_url": "http://127.0.0.1:9/x"}),
        ("automask/", {"b64img": to_base64(bright_block()), "points_per_side": 0}),
        ("video/", {"b64imgs": [to_base64(bright_block())]}),
        ("video/", {"b64imgs": ["?"], "objs": OBJECTS}),
    ],
)
def test_wrong_requests(qupath: QuPathClient, path: str, body: dict[str, Any]) -> None:
    assert qupath.post(path, body, 422)["detail"]


def test_weights_of_the_server_choose_the_model(qupath: QuPathClient) -> None:
    body = {"b64img": to_base64(bright_block()), "bbox": [20, 10, 50, 30], "type": "vit_h"}
    (feature,) = qupath.post("", {**body, "checkpoint_url": "segscope:mini"})
    assert feature["properties"]["sam_model"] == "mini"
    qupath.post("", {**body, "checkpoint_url": "segscope:nothing"}, 404)


def test_the_secret(qupath: QuPathClient, serve: Callable[..., Server]) -> None:
    for path in ("/qupath/version/", "/qupath/wrong/version/"):
        assert qupath.http.get(path).status_code == 401
    open_server = serve(compat=("qupath",), compat_open=True)
    open_server.http.headers.pop("Authorization")
    assert open_server.http.get("/qupath/version/").text == "0.7.0"
