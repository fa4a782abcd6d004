"""Jobs of a session, followed to their end."""

from __future__ import annotations

import numpy as np

from segscope.client import Client


def test_everything_gives_the_objects_that_are_new(client: Client, volume: np.ndarray) -> None:
    image = client.upload_array(volume)
    with client.open(image.image_id, annotator="finder") as session:
        found = session.everything(3)
        assert found
        assert found == [row["object_id"] for row in session.state()["objects"]]
        assert set(np.unique(session.labels(3)).tolist()) == {0, *found}
        assert session.everything(3) == []
