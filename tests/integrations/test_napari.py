"""The napari plug-in without napari: layers to prompts, and sessions through plain layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari_segscope.image_session import (
    MASKS,
    POINTS,
    SHAPES,
    ImageSession,
    open_remote,
    pixels_of,
)
from napari_segscope.prompts import (
    LayerPrompts,
    changed_keys,
    mask_prompts,
    painted_masks,
    to_layers,
    to_prompts,
    with_frame,
)

from segscope.client import Client

SIZE = (60, 80)


# --- coordinates ---------------------------------------------------------------------------------


def test_pixel_centres_lie_on_halves() -> None:
    drawn = LayerPrompts(points=np.array([[3.0, 10.0, 20.0]]), positive=[False], point_objects=[2])
    assert to_prompts(drawn, SIZE) == {
        (3, 2): [{"type": "point", "xy": [20.5, 10.5], "positive": False}]
    }


def test_a_rectangle_round_pixels_is_their_box() -> None:
    corners = np.array([(1, 9.5, 19.5), (1, 9.5, 29.5), (1, 14.5, 29.5), (1, 14.5, 19.5)])
    drawn = LayerPrompts(
        shapes=[corners], kinds=["rectangle"], shape_objects=[1], shape_positive=[True], widths=[1]
    )
    assert to_prompts(drawn, SIZE) == {(1, 1): [{"type": "box", "xyxy": [20, 10, 30, 15]}]}


def test_what_lies_outside_is_cut_or_left_out() -> None:
    outside = np.array([(0, -9.0, -9.0), (0, -9.0, 200.0), (0, 30.0, 200.0), (0, 30.0, -9.0)])
    path = np.array([(0, 5.0, 5.0), (0, 5.0, 500.0)])
    drawn = LayerPrompts(
        np.array([[0, -3.0, 5.0], [0, 5.0, 79.6], [2.4, 5.0, 79.2]]),
        [True] * 3,
        [1] * 3,
        [outside, path, outside + 1000],
        ["rectangle", "path", "rectangle"],
        [1, 1, 1],
        [True] * 3,
        [1, 0.2, 1],
    )
    assert to_prompts(drawn, SIZE) == {
        (0, 1): [
            {"type": "box", "xyxy": [0, 0, 80, 30.5]},
            {"type": "scribble", "xy": [[5.5, 5.5]], "positive": True, "width": 1.0},
        ],
        (2, 1): [{"type": "point", "xy": [79.7, 5.5], "positive": True}],
    }


def test_there_and_back() -> None:
    prompts = {
        (0, 1): [
            {"type": "box", "xyxy": [2, 3, 9, 11.5]},
            {"type": "scribble", "xy": [[4, 4], [9.25, 9]], "positive": False, "width": 5.0},
            {"type": "point", "xy": [4.5, 4.5], "positive": True},
        ],
        (3, 7): [{"type": "point", "xy": [70.125, 50.5], "positive": False}],
    }
    assert to_prompts(to_layers(prompts), SIZE) == prompts
    assert to_prompts(to_layers({}), SIZE) == {}


def test_masks_have_no_layer() -> None:
    mask = {"type": "mask", "bits": "x", "size_hw": [2, 2]}
    prompts = {
        (0, 1): [mask, {"type": "box", "xyxy": [2, 3, 9, 11]}],
        (1, 1): [{"type": "point", "xy": [1, 1]}],
    }
    assert mask_prompts(prompts) == {(0, 1): [mask]}
    assert len(to_layers(prompts).shapes) == 1


def test_what_changed() -> None:
    assert changed_keys({(0, 1): [{"a": 1}], (0, 2): []}, {(0, 1): [{"a": 1}], (4, 1): [{}]}) == [
        (4, 1)
    ]
    assert changed_keys({(0, 1): [{"a": 1}]}, {}) == [(0, 1)]


def test_brush_strokes_name_objects_that_won_and_lost() -> None:
    before, after = np.zeros((4, 5), np.uint16), np.zeros((4, 5), np.uint16)
    before[:2], after[:3] = 1, 1
    after[0, 0] = 2
    found = painted_masks(before, after)
    assert sorted(found) == [1, 2]
    assert found[1].sum() == 14
    assert painted_masks(before, before) == {}


def test_layers_of_one_slice_have_two_axes() -> None:
    assert with_frame(np.ones((2, 2)), 1).tolist() == [[0, 1, 1], [0, 1, 1]]
    assert with_frame(np.zeros((0, 3)), 5).shape == (0, 3)
    with pytest.raises(ValueError, match="2 axes"):
        with_frame(np.ones((2, 2)), 5)


def test_pixels() -> None:
    def layer(
        data: np.ndarray, rgb: bool = False, scale: tuple[float, ...] = (3.0, 0.5, -0.5)
    ) -> Any:
        return SimpleNamespace(
            data=data, rgb=rgb, ndim=data.ndim - rgb, scale=scale, multiscale=False
        )

    data, spacing = pixels_of(layer(np.zeros((4, 5, 6), np.int16)))
    assert (data.shape, spacing) == ((4, 5, 6), [3.0, 0.5, 0.5])
    data, spacing = pixels_of(layer(np.full((5, 6, 3), 0.5), rgb=True, scale=(1, 1)))
    assert (data.dtype, data.max(), spacing) == (np.uint8, 127, None)
    with pytest.raises(ValueError, match="4 axes"):
        pixels_of(layer(np.zeros((2, 2, 2, 2))))
    with pytest.raises(ValueError, match="complex128"):
        pixels_of(layer(np.zeros((2, 2), complex)))


# --- with the server -----------------------------------------------------------------------------


class Shapes(SimpleNamespace):
    def add(self, data: Any, shape_type: Any, edge_width: Any) -> None:
        self.data, self.shape_type, self.edge_width = list(data), list(shape_type), list(edge_width)


class Points:
    """Points as napari stores them: a selection refers to them by number."""

    def __init__(self, ndim: int, name: str) -> None:
        self.name = name
        self.data = np.zeros((0, ndim))
        self.features: dict[str, Any] = {}
        self.selected_data: set[int] = set()
        self.face_color: Any = "white"

    @property
    def current_face_color(self) -> str:
        return "white"

    @current_face_color.setter
    def current_face_color(self, colour: str) -> None:
        for index in self.selected_data:
            self.data[index]  # napari changes the colour of each selected point
        self.face_color = colour


class Layers(dict[str, Any]):
    def remove(self, name: str) -> None:
        del self[name]


class Viewer:
    """As much of napari's as the plug-in uses."""

    def __init__(self) -> None:
        self.layers = Layers()

    def _add(self, layer: Any) -> Any:
        self.layers[layer.name] = layer
        return layer

    def add_labels(self, data: np.ndarray, **said: Any) -> Any:
        return self._add(SimpleNamespace(data=data, **said))

    def add_points(self, ndim: int, **said: Any) -> Any:
        return self._add(Points(ndim, said["name"]))

    def add_shapes(self, ndim: int, **said: Any) -> Any:
        return self._add(Shapes(data=[], shape_type=[], edge_width=[], ndim=ndim, **said))


@pytest.fixture
def image(volume: np.ndarray) -> Any:
    return SimpleNamespace(
        name="ct: a/b",
        data=volume,
        rgb=False,
        ndim=3,
        scale=np.array([2.5, 0.8, 0.7]),
        translate=np.zeros(3),
        affine=None,
        multiscale=False,
    )


def rectangle(
    session: ImageSession, frame: int, x0: float, y0: float, x1: float, y1: float, object_id: int
) -> None:
    corners = [(frame, y0, x0), (frame, y0, x1), (frame, y1, x1), (frame, y1, x0)]
    session.shapes.data.append(np.array(corners) - [0, 0.5, 0.5])
    session.shapes.shape_type.append("rectangle")
    session.shapes.edge_width.append(1.0)
    features = session.shapes.features
    session.shapes.features = {
        "object": [*features["object"], object_id],
        "positive": [*features["positive"], True],
    }


def dot(
    session: ImageSession, frame: int, x: float, y: float, object_id: int, positive: bool = True
) -> None:
    session.points.data = np.vstack([session.points.data, [frame, y - 0.5, x - 0.5]])
    features = session.points.features
    session.points.features = {
        "object": [*features["object"], object_id],
        "positive": [*features["positive"], positive],
    }
    session.points.selected_data = {len(session.points.data) - 1}  # as after a click in napari


def test_a_volume_from_boxes_to_undo(client: Client, image: Any) -> None:
    viewer = Viewer()
    session = ImageSession(viewer, image, open_remote(image, client, annotator="napari test"))
    assert set(viewer.layers) == {MASKS, SHAPES, POINTS}
    assert viewer.layers[MASKS].data.shape == (7, 60, 80)
    rectangle(session, 3, 19, 19, 41, 41, 1)
    dot(session, 3, 62, 17, 2)
    assert session.send(session.layer_prompts()) == {3}
    assert session.send(session.layer_prompts()) == set(), "nothing new, nothing sent"
    session.redraw()
    inside = viewer.layers[MASKS].data[3, 20:40, 20:40]
    assert (inside == 1).mean() > 0.9
    assert (viewer.layers[MASKS].data[3, 10:25, 55:70] == 2).mean() > 0.5
    assert np.array_equal(session.remote.labels(), session.label_map.labels)

    done = list(session.propagate())
    assert done[-1][1] == 7
    assert len(done) > 5
    assert np.array_equal(session.remote.labels(), session.label_map.labels)
    assert (session.label_map.labels[4] == 1).sum() > 300

    session.undo(3)
    session.refresh()
    assert not viewer.layers[MASKS].data[4].any()
    session.redo(3)
    session.refresh()
    assert viewer.layers[MASKS].data[4].any()
    assert len(session.points.data) == len(session.shapes.data) == 1

    session.points.data, session.points.features = np.zeros((0, 3)), {"object": [], "positive": []}
    session.send(session.layer_prompts())
    assert not (session.label_map.labels[3] == 2).any(), (
        "a point that was deleted takes its mask along"
    )
    assert np.array_equal(session.remote.labels(), session.label_map.labels)
    session.close()


def test_undo_of_several_clicks_shows_the_masks_of_the_server(client: Client, image: Any) -> None:
    session = ImageSession(Viewer(), image, open_remote(image, client, annotator="clicks"))
    places = ((30, 30), (24, 36), (36, 24), (62, 17))
    for x, y in places:
        dot(session, 3, x, y, 1)
        session.send(session.layer_prompts())
        session.redraw()
    for remaining in range(len(places) - 1, -1, -1):
        session.undo(3)
        session.refresh()
        assert len(session.points.data) == remaining
        assert np.array_equal(session.labels.data, session.remote.labels())
    assert not session.labels.data.any()
    session.close()


def test_masks_are_drawn_although_the_points_cannot_be(
    client: Client, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ImageSession(Viewer(), image, open_remote(image, client, annotator="broken"))
    dot(session, 3, 30, 30, 1)
    session.send(session.layer_prompts())

    def fail(_layers: LayerPrompts) -> None:
        raise IndexError("index 2 is out of bounds")

    monkeypatch.setattr(session, "_show_prompts", fail)
    with pytest.raises(IndexError):
        session.refresh()
    assert np.array_equal(session.labels.data, session.remote.labels())
    assert session.labels.data.any()
    session.close()


def test_strokes_of_the_brush_stay_when_prompts_follow(client: Client, image: Any) -> None:
    session = ImageSession(Viewer(), image, open_remote(image, client, annotator="painter"))
    painted_over = session.label_map.labels[2].copy()
    painted_over[5:9, 5:9] = 4
    assert session.send_strokes(2, painted_over) == {2}
    assert np.array_equal(session.label_map.labels[2], painted_over)
    dot(session, 2, 7, 7, 4)
    session.send(session.layer_prompts())
    dot(session, 2, 30, 30, 4, positive=False)
    session.send(session.layer_prompts())
    session.points.data = session.points.data[
        :1
    ]  # the second one is taken away again: all are replaced, the mask is kept
    session.points.features = {key: value[:1] for key, value in session.points.features.items()}
    session.send(session.layer_prompts())
    kinds = [item["type"] for item in session.remote.prompts()[2, 4]]
    assert kinds == ["mask", "point"]
    session.close()


def test_the_same_image_goes_on_where_it_was(client: Client, image: Any) -> None:
    first = ImageSession(Viewer(), image, open_remote(image, client, annotator="again"))
    rectangle(first, 2, 19, 19, 41, 41, 3)
    first.send(first.layer_prompts())
    first.close()
    second = ImageSession(Viewer(), image, open_remote(image, client, annotator="again"))
    assert second.shapes.features["object"] == [3]
    assert second.send(second.layer_prompts()) == set()
    assert np.array_equal(first.label_map.labels, second.labels.data)
    second.close()


def test_a_propagation_that_is_left_is_cancelled(client: Client, image: Any) -> None:
    session = ImageSession(Viewer(), image, open_remote(image, client, annotator="impatient"))
    rectangle(session, 3, 19, 19, 41, 41, 1)
    session.send(session.layer_prompts())
    for _ in session.propagate():
        break
    dot(session, 3, 62, 17, 2)  # would be refused as long as the propagation is under way
    assert session.send(session.layer_prompts()) == {3}
    session.close()


def test_an_image_has_layers_of_two_axes(client: Client, volume: np.ndarray) -> None:
    pixels = np.clip(volume[3] / 2 + 60, 0, 255).astype(np.uint8)
    flat = SimpleNamespace(
        name="cells",
        data=np.stack([pixels] * 3, axis=-1),
        rgb=True,
        ndim=2,
        scale=np.ones(2),
        translate=np.zeros(2),
        affine=None,
        multiscale=False,
    )
    session = ImageSession(Viewer(), flat, open_remote(flat, client, annotator="flat"))
    session.points.data = np.array([[30.0, 30.0]])
    session.points.features = {"object": [1], "positive": [True]}
    assert session.send(session.layer_prompts()) == {0}
    session.refresh()
    assert session.labels.data.shape == (60, 80)
    assert session.points.data.tolist() == [[30.0, 30.0]]
    session.close()
