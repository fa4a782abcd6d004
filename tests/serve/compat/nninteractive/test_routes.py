"""nnInteractive's own client, from PyPI, against this server."""

from __future__ import annotations

import gc
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from ...conftest import TOKEN, Server

remote = pytest.importorskip("nnInteractive.inference.remote")
remote_pack = pytest.importorskip("nnInteractive.inference.remote.serialization").pack_array


@pytest.fixture
def url(serve: Callable[..., Server]) -> Iterator[str]:
    """A server on a real port: the client brings its own HTTP."""
    with running(serve(compat=("nninteractive",)).app) as base:
        yield f"{base}/nninteractive"


class running:
    """An app on a free port of this machine."""

    def __init__(self, app: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


def volume() -> np.ndarray:
    """(1, 6, 40, 50): a bright block on slices 1 to 4."""
    array = np.random.default_rng(0).normal(0, 20, (1, 6, 40, 50)).astype(np.float32)
    array[0, 1:5, 10:25, 15:35] += 300
    return array


def truth() -> np.ndarray:
    block = np.zeros((6, 40, 50), bool)
    block[1:5, 10:25, 15:35] = True
    return block


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture
def session(url: str) -> Iterator[Any]:
    with remote.nnInteractiveRemoteInferenceSession(url, api_key=TOKEN) as found:
        yield found


def start(session: Any) -> np.ndarray:
    session.set_image(volume(), {"spacing": [3.0, 0.5, 0.5]})
    target = np.zeros((6, 40, 50), np.uint8)
    session.set_target_buffer(target)
    return target


def test_a_session_of_the_protocol(session: Any) -> None:
    assert all(session.supported_interactions.values())
    assert session.supports_undo
    assert session.ping()
    target = start(session)
    assert session.original_image_shape == (1, 6, 40, 50)
    bbox = session.add_bbox_interaction([[2, 3], [10, 25], [15, 35]], include_interaction=True)
    assert iou(target > 0, truth()) > 0.7  # carried both ways from one slice
    assert bbox is not None
    first = target.copy()
    session.add_point_interaction([3, 30, 5], include_interaction=False)
    assert session.undo()
    assert np.array_equal(target, first)
    assert session.undo()
    assert not target.any()
    assert not session.undo()


def test_several_objects_one_after_the_other(session: Any, url: str) -> None:
    target = start(session)
    for _ in range(2):
        session.add_bbox_interaction([[2, 3], [10, 25], [15, 35]], include_interaction=True)
        assert target.any()
        session.reset_interactions()
        assert not target.any()
    http = httpx.Client(
        base_url=url.removesuffix("/nninteractive"),
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=60,
    )
    with http:
        (row,) = http.get("/v1/sessions", params={"annotator": "nninteractive"}).json()
        state = http.get(f"/v1/sessions/{row['session_id']}/state").json()
    assert [entry["object_id"] for entry in state["objects"]] == [1, 2]


def test_a_negative_point_alone_marks_nothing(session: Any) -> None:
    target = start(session)
    session.add_point_interaction([2, 17, 25], include_interaction=False)
    assert not target.any()
    session.add_point_interaction([2, 17, 25], include_interaction=True)
    assert target.any()


def test_prompts_may_wait_for_predict(session: Any) -> None:
    target = start(session)
    session.add_point_interaction([2, 17, 25], include_interaction=True, run_prediction=False)
    assert not target.any()
    assert session._predict() is not None
    assert target.any()


def test_an_initial_segmentation(session: Any) -> None:
    target = start(session)
    session.add_initial_seg_interaction(truth().astype(np.uint8))
    assert np.array_equal(target > 0, truth())
    session.add_point_interaction([2, 12, 17], include_interaction=True)
    assert iou(target > 0, truth()) > 0.5


def test_the_coarse_axis_is_sliced_wherever_it_is(session: Any) -> None:
    session.set_image(np.moveaxis(volume(), 1, 3), {"spacing": [0.5, 0.5, 3.0]})
    target = np.zeros((40, 50, 6), np.uint8)
    session.set_target_buffer(target)
    session.add_bbox_interaction([[10, 25], [15, 35], [2, 3]], include_interaction=True)
    assert iou(np.moveaxis(target > 0, 2, 0), truth()) > 0.7


def test_leases(session: Any, url: str) -> None:
    assert session.heartbeat() > 500
    assert session.lease_status()["idle_timeout_seconds"] == 600
    session._http.post("/release")
    with pytest.raises(remote.SessionExpiredError):
        start(session)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
def test_without_the_token(url: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        remote.nnInteractiveRemoteInferenceSession(url, api_key="wrong")
    gc.collect()  # the client leaves its connection open when it is refused


class TestDrawn:
    def test_a_scribble_in_a_slice(self, session: Any) -> None:
        target = start(session)
        stroke = np.zeros((6, 40, 50), np.uint8)
        stroke[2, 16:19, 18:33] = 1
        assert session.add_scribble_interaction(stroke, include_interaction=True) is not None
        assert iou(target > 0, truth()) > 0.6
        first = target.copy()
        crop = np.ones((1, 2, 8), bool)
        session.add_scribble_interaction(
            crop, include_interaction=False, interaction_bbox=[[3, 4], [12, 14], [17, 25]]
        )
        assert session.undo()
        assert np.array_equal(target, first)
        assert session.undo()
        assert not target.any()

    def test_a_scribble_across_the_slices(self, session: Any) -> None:
        target = start(session)
        crop = np.ones((4, 1, 2), np.uint8)
        session.add_scribble_interaction(
            crop, include_interaction=True, interaction_bbox=[[1, 5], [17, 18], [24, 26]]
        )
        assert all(target[at].any() for at in range(1, 5))
        assert session.undo()
        assert not target.any()

    @pytest.mark.parametrize("filled", [True, False])
    def test_a_lasso(self, session: Any, filled: bool) -> None:
        target = start(session)
        region = np.zeros((6, 40, 50), np.uint8)
        region[2, 9:27, 13:37] = 1
        if not filled:
            region[2, 10:26, 14:36] = 0
        session.add_lasso_interaction(region, include_interaction=True)
        assert iou(target > 0, truth()) > 0.6
        here = (target > 0).sum()
        session.add_lasso_interaction(
            region[2:3, 20:27, 13:37],
            include_interaction=False,
            interaction_bbox=[[2, 3], [20, 27], [13, 37]],
        )
        assert (target > 0).sum() != here

    def test_a_lasso_adds_to_what_is_there(self, session: Any) -> None:
        target = start(session)
        session.add_initial_seg_interaction(truth().astype(np.uint8))
        region = np.zeros((6, 40, 50), np.uint8)
        region[2, 10:25, 30:40] = 1
        session.add_lasso_interaction(region, include_interaction=True)
        assert (target[2, 10:25, 15:35] > 0).mean() > 0.6

    def test_it_may_wait(self, session: Any) -> None:
        target = start(session)
        stroke = np.ones((1, 3, 15), np.uint8)
        box = [[2, 3], [16, 19], [18, 33]]
        session.add_scribble_interaction(stroke, True, run_prediction=False, interaction_bbox=box)
        assert not target.any()
        assert not session.undo()
        assert session._predict() is None
        session.add_scribble_interaction(stroke, True, run_prediction=False, interaction_bbox=box)
        assert session._predict() is not None
        assert target.any()

    def test_what_cannot_be_meant_is_refused(self, session: Any) -> None:
        start(session)
        one = np.ones((1, 3, 15), np.uint8)
        for mask, box in (
            (np.zeros((6, 40, 50), np.uint8), None),
            (one, None),
            (one, [[2, 3], [16, 19], [18, 32]]),
            (one, [[2, 3], [38, 41], [18, 33]]),
            (one, [[2, 3]]),
        ):
            for add in (session.add_scribble_interaction, session.add_lasso_interaction):
                with pytest.raises(httpx.HTTPStatusError, match="422"):
                    add(mask, include_interaction=True, interaction_bbox=box)


def test_what_is_not_offered_is_refused(session: Any) -> None:
    start(session)
    for coordinates in ([1], [1, 2, 900], ["a", 1, 2]):
        with pytest.raises((httpx.HTTPStatusError, ValueError)):
            session.add_point_interaction(coordinates, include_interaction=True)


HEAD = b"NNIA\1\1\4\7float32"
DAMAGED = {
    "empty": b"",
    "short": b"NNIA",
    "nonsense": b"x" * 100,
    "negative": HEAD + b"\xff" * 32,
    "huge": HEAD + (10**6).to_bytes(8, "little") * 4,
    "objects": b"NNIA\1\1\1\6object" + (1).to_bytes(8, "little"),
    "cut off": HEAD + (2).to_bytes(8, "little") * 4 + b"\1\0\0\0",
}


def test_a_waiting_point_outside_of_the_image_is_refused_at_once(session: Any) -> None:
    target = start(session)
    session.add_point_interaction([2, 17, 25], include_interaction=True, run_prediction=False)
    for run_prediction in (False, True):
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            session.add_point_interaction([2, 17, 900], True, run_prediction=run_prediction)
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            session.add_point_interaction([6, 17, 25], True, run_prediction=run_prediction)
    assert session._predict() is not None
    assert target[2, 17, 25], "the point that waited is answered"


class TestPackets:
    def test_zeros_that_unpack_to_gigabytes_are_refused(self, session: Any) -> None:
        # what a client sends for 1.5 GiB of zeros, made without allocating them
        packet = remote_pack(np.zeros((1, 8, 8, 8), np.float32))
        huge = packet.replace(struct.pack("<4q", 1, 8, 8, 8), struct.pack("<4q", 1, 768, 768, 683))
        answer = session._http.post("/set_image", content=huge)
        assert answer.status_code == 413
        assert "1000 times" in answer.json()["detail"]

    def test_small_images_may_be_constant(self, session: Any) -> None:
        session.set_image(np.zeros((1, 16, 128, 128), np.float32), {"spacing": [1.0, 1.0, 1.0]})

    def test_clients_share_a_budget(self, serve: Callable[..., Server]) -> None:
        server = serve(compat=("nninteractive",), ram_bytes=60_000)
        packet = remote_pack(volume())  # 48,000 bytes

        def claim() -> dict[str, str]:
            answer = server.http.post("/nninteractive/claim")
            return {"X-Lease-Token": answer.json()["lease_token"]}

        first, second = claim(), claim()
        path = "/nninteractive/set_image"
        assert server.http.post(path, content=packet, headers=first).status_code == 200
        full = server.http.post(path, content=packet, headers=second)
        assert full.status_code == 503
        assert "Retry-After" in full.headers
        assert server.http.post(path, content=packet, headers=first).status_code == 200
        server.http.post("/nninteractive/release", headers=first)
        assert server.http.post(path, content=packet, headers=second).status_code == 200

    def test_a_damaged_image_leaves_nothing_behind(self, session: Any, tmp_path: Path) -> None:
        packet = remote_pack(volume())
        answer = session._http.post("/set_image", content=packet[: len(packet) // 2])
        assert answer.status_code == 422
        assert list((tmp_path / "project" / "uploads").iterdir()) == []

    def test_a_drawing_larger_than_the_image_is_not_unpacked(self, session: Any) -> None:
        start(session)
        packet = remote_pack(np.ones((7, 40, 50), np.uint8))
        answer = session._http.post("/add_scribble_interaction", content=packet)
        assert answer.status_code == 422
        assert "inside the image" in answer.json()["detail"]


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_arrays(url: str, data: bytes) -> None:
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
    ) as http:
        http.headers["X-Lease-Token"] = http.post("/claim").json()["lease_token"]
        for path in ("/set_image", "/add_initial_seg_interaction", "/add_scribble_interaction"):
            answer = http.post(path, content=data)
            assert answer.status_code in (413, 422), answer.text
        assert http.post("/set_image", content=data, headers={"X-Meta": "{"}).status_code == 422
        assert http.post("/undo").status_code == 422
