"""Arrays reach the server with their place."""

from __future__ import annotations

import numpy as np

from segscope.client import Client


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
