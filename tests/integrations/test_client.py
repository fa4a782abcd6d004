"""What plug-ins rely on in the client: arrays with their place, a label map that follows, connections that lay idle."""

from __future__ import annotations

import socket

import numpy as np

from segscope.client import Client, LabelMap, MaskUpdate
from segscope.client.http import Http


def test_an_array_comes_with_its_place(client: Client, volume: np.ndarray) -> None:
    affine = np.array([[0, 0.8, 0, 3], [-0.7, 0, 0, 4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
    image = client.upload_array(volume, affine=affine, name="../a: b")
    assert (image.kind, image.shape_zyx, image.spacing_zyx_mm) == (
        "volume",
        (7, 60, 80),
        (2.5, 0.8, 0.7),
    )
    assert np.allclose(image.properties["affine"], affine)
    assert np.array_equal(client.volume(image.image_id), volume)
    assert client.upload_array(volume, affine=affine).image_id == image.image_id
    spaced = client.upload_array(volume, spacing_zyx_mm=(3, 0.5, 0.4))
    assert spaced.spacing_zyx_mm == (3, 0.5, 0.4)
    assert client.upload_array(volume[0]).kind == "image"
    assert client.upload_array(np.zeros((4, 9, 8, 3), np.uint8)).shape_zyx == (4, 9, 8)


def test_a_label_map_follows_its_session(client: Client, volume: np.ndarray) -> None:
    image = client.upload_array(volume, spacing_zyx_mm=(2.5, 0.8, 0.7))
    with client.open(image.image_id, annotator="label map") as session:
        label_map = LabelMap(session)
        assert label_map.apply(session.predict(3, 1, boxes=[(19, 19, 41, 41)])) == {3}
        label_map.apply(session.predict(3, 2, points=[(30, 30, 1)]))
        assert sum(1 for _ in label_map.propagate(objects=[1])) > 3
        label_map.apply(session.undo())
        label_map.apply(session.undo(3))
        assert np.array_equal(label_map.labels, session.labels())
        assert list(session.prompts()) == [(3, 1)]
        label_map.apply_update(MaskUpdate(0, 5, (2, 3, 5, 5), np.ones((2, 3), bool), 6))
        label_map.apply_update(MaskUpdate(0, 5, (2, 3, 4, 5), np.zeros((2, 2), bool), 2))
        label_map.apply_update(MaskUpdate(0, 5, None, np.zeros((0, 0), bool), 2))
        assert np.argwhere(label_map.labels[0] == 5).tolist() == [[3, 4], [4, 4]]


def test_a_broken_connection_is_replaced(client: Client) -> None:
    client.health()
    broken = client.http.connection
    assert broken is not None
    # sending breaks: the server never sees the request
    broken.sock.shutdown(socket.SHUT_WR)
    assert client.http.json("PATCH", "/v1/project", {"name": "again"})["name"] == "again"
    assert client.http.connection is not broken


def test_a_connection_is_used_again_unless_it_lay_idle(url: str) -> None:
    http = Http(url, None, timeout_s=120)
    http.json("GET", "/v1/health")
    first = http.connection
    http.json("GET", "/v1/health")
    assert http.connection is first
    http.close()
    impatient = Http(url, None, timeout_s=120, max_idle_s=0.0)
    impatient.json("GET", "/v1/health")
    first = impatient.connection
    impatient.json("GET", "/v1/health")
    assert impatient.connection is not first
    impatient.close()


def test_everything_gives_the_objects_that_are_new(client: Client, volume: np.ndarray) -> None:
    image = client.upload_array(volume)
    with client.open(image.image_id, annotator="finder") as session:
        found = session.everything(3)
        assert found
        assert found == [row["object_id"] for row in session.state()["objects"]]
        assert set(np.unique(session.labels(3)).tolist()) == {0, *found}
        assert session.everything(3) == []
