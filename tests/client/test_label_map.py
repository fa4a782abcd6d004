"""A label map follows the commands of its session."""

from __future__ import annotations

import numpy as np

from segscope.client import Client, LabelMap, MaskUpdate


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
