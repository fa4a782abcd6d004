"""Sessions outlive the weights, and the model, that they were made with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import segscope as ss

from ..conftest import Server

BOX = [20, 20, 40, 40]


@pytest.fixture(scope="module")
def newer() -> Any:
    """`mini`, trained on."""
    again = ss.load("mini", device="cpu")
    again.weights_hash = "newer"
    with torch.no_grad():
        for parameter in again.model.parameters():
            parameter.mul_(0.97)
    return again


def worked(server: Server) -> Any:
    server.open()
    server.do("predict", frame=3, object_id=1, boxes=[BOX])
    server.do("predict", frame=3, object_id=2, points=[[62, 17, 1]])
    server.propagate()
    server.do("paint", frame=4, object_id=1, strokes=[{"xy": [[30, 30], [44, 44]], "width": 5}])
    server.do("accept", frames=[3])
    return server.labels()


def test_masks_stay_and_the_client_is_told(serve: Callable[..., Server], newer: Any) -> None:
    first = serve()
    labels = worked(first)
    assert first.ask("GET", "/state")["network"] is None
    second = serve()
    second.workspace.engines._loaded["mini"] = newer
    second.open(take_over=True)
    state = second.ask("GET", "/state")
    assert state["network"]["weights"] == "newer"
    assert state["network"]["steps"] == 5
    assert not state["network"]["anew"]
    assert "The model has changed" in state["network"]["detail"]
    assert np.array_equal(second.labels(), labels)
    second.do("undo")
    second.do("redo")
    assert np.array_equal(second.labels(), labels)
    second.do("predict", frame=2, object_id=1, points=[[38, 24, 0]])
    second.propagate()
    after = second.labels()
    assert np.array_equal(after[3], labels[3])  # accepted
    log = second.http.get(f"/v1/sessions/{second.session_id}/log").text.splitlines()
    assert [json.loads(line)["engine"]["weights"] for line in log if '"engine"' in line][1:] == [
        "newer"
    ]
    third = serve()
    third.workspace.engines._loaded["mini"] = newer
    third.open(take_over=True)
    assert np.array_equal(third.labels(), after)


def test_a_new_session_starts_from_an_old_one(serve: Callable[..., Server], newer: Any) -> None:
    first = serve()
    labels = worked(first)
    second = serve()
    second.workspace.engines._loaded["mini"] = newer
    second.open(start_from=first.session_id, new=True)
    assert np.array_equal(second.labels(), labels)


def test_a_model_that_is_gone(serve: Callable[..., Server], engine: Any) -> None:
    first = serve(models={"ours": "somewhere"})
    first.workspace.engines._loaded["ours"] = engine
    first.open(model="ours")
    first.do("predict", frame=3, object_id=1, boxes=[BOX])
    labels = first.labels()
    second = serve()
    second.open(take_over=True)
    assert np.array_equal(second.labels(), labels)
    second.do("predict", frame=3, object_id=1, points=[[21, 21, 1]])
