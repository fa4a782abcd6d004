"""What plug-ins rely on in the client: arrays with their place, a label map that follows, connections that lay idle."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from segscope.client import Canvas, Client, MaskPart
from segscope.client import client as client_client


def test_an_array_comes_with_its_place(client: Client, volume: np.ndarray) -> None:
    affine = np.array([[0, 0.8, 0, 3], [-0.7, 0, 0, 4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
    image = client.upload_array(volume, affine=affine, name="../a: b")
    assert (image.kind, image.shape_zyx, image.spacing_zyx_mm) == (
        "volume",
        (7, 60, 80),
        (2.5, 0.8, 0.7),
    )
    assert np.allclose(image.about["affine"], affine)
    assert np.array_equal(client.volume(image.image_id), volume)
    assert client.upload_array(volume, affine=affine).image_id == image.image_id
    spaced = client.upload_array(volume, spacing_zyx_mm=(3, 0.5, 0.4))
    assert spaced.spacing_zyx_mm == (3, 0.5, 0.4)
    assert client.upload_array(volume[0]).kind == "image"
    assert client.upload_array(np.zeros((4, 9, 8, 3), np.uint8)).shape_zyx == (4, 9, 8)


def test_a_canvas_follows_its_session(client: Client, volume: np.ndarray) -> None:
    image = client.upload_array(volume, spacing_zyx_mm=(2.5, 0.8, 0.7))
    with client.open(image.image_id, annotator="canvas") as session:
        canvas = Canvas(session)
        assert canvas.take(session.predict(3, 1, boxes=[(19, 19, 41, 41)])) == {3}
        canvas.take(session.predict(3, 2, points=[(30, 30, 1)]))
        assert sum(1 for _ in canvas.propagate(objects=[1])) > 3
        canvas.take(session.undo())
        canvas.take(session.undo(3))
        assert np.array_equal(canvas.labels, session.labels())
        assert list(session.prompts()) == [(3, 1)]
        canvas.put(MaskPart(0, 5, (2, 3, 5, 5), np.ones((2, 3), bool), 6))
        canvas.put(MaskPart(0, 5, (2, 3, 4, 5), np.zeros((2, 2), bool), 2))
        canvas.put(MaskPart(0, 5, None, np.zeros((0, 0), bool), 2))
        assert np.argwhere(canvas.labels[0] == 5).tolist() == [[3, 4], [4, 4]]


def test_a_connection_that_was_closed_meanwhile_is_made_anew(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.health()
    client._local.connection.sock.shutdown(
        socket.SHUT_WR
    )  # sending breaks: the server never sees the request
    assert client.json("PATCH", "/v1/project", {"name": "again"})["name"] == "again"
    before = client._local.connection
    client.health()
    assert client._local.connection is before
    monkeypatch.setattr(client_client, "_REST_S", 0.0)
    client.health()
    assert client._local.connection is not before


def test_everything_gives_the_objects_that_are_new(client: Client, volume: np.ndarray) -> None:
    image = client.upload_array(volume)
    with client.open(image.image_id, annotator="finder") as session:
        found = session.everything(3)
        assert found
        assert found == [row["object_id"] for row in session.state()["objects"]]
        assert set(np.unique(session.labels(3)).tolist()) == {0, *found}
        assert session.everything(3) == []
