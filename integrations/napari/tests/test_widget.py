"""The plug-in in napari itself; the last test needs a screen and `segscope` on the PATH."""

from __future__ import annotations

import copy
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

napari = pytest.importorskip("napari")
from napari.components import ViewerModel  # noqa: E402
from napari_segscope.client import LabelMap  # noqa: E402
from napari_segscope.image_session import MASKS, POINTS, SHAPES, ImageSession, open_remote  # noqa: E402
from napari_segscope.local import LocalServer, NoServer  # noqa: E402

SHAPE = (5, 40, 50)


class Session:
    """A server that takes boxes for masks."""

    def __init__(self) -> None:
        self.stored: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self.earlier: list[dict[tuple[int, int], list[dict[str, Any]]]] = []
        self.commands: list[str] = []

    def labels(self, frame: int | None = None) -> np.ndarray:
        labels = np.zeros(SHAPE, np.uint16)
        for (at, number), prompts in self.stored.items():
            for prompt in prompts:
                if prompt["type"] == "box":
                    x0, y0, x1, y1 = map(int, prompt["xyxy"])
                    labels[at, y0:y1, x0:x1] = number
                elif prompt["type"] == "point":
                    x, y = map(int, prompt["xy"])
                    labels[at, y, x] = number
        return labels if frame is None else labels[frame]

    def prompts(self) -> dict[tuple[int, int], list[dict[str, Any]]]:
        return self.stored

    def predict(self, frame: int, object_id: int, prompts: Any) -> Any:
        self.earlier.append(copy.deepcopy(self.stored))
        self.commands.append("predict")
        self.stored.setdefault((frame, object_id), []).extend(prompts)
        return SimpleNamespace(changes=(), stale=(frame,))

    def replace(self, frame: int, object_id: int, prompts: Any) -> Any:
        self.commands.append("replace")
        self.stored[frame, object_id] = list(prompts)
        return SimpleNamespace(changes=(), stale=(frame,))

    def clear(self, frame: int, object_id: int) -> Any:
        self.commands.append("clear")
        self.stored.pop((frame, object_id))
        return SimpleNamespace(changes=(), stale=(frame,))

    def close(self) -> None:
        """The session is released."""

    def undo(self, _frame: int) -> Any:
        self.commands.append("undo")
        self.stored = self.earlier.pop()
        return SimpleNamespace(changes=(), stale=range(SHAPE[0]))


class Server:
    def __init__(self) -> None:
        self.session = Session()

    def upload_array(self, _array: np.ndarray, **_: Any) -> Any:
        return SimpleNamespace(image_id="1", shape_zyx=SHAPE)

    def open(self, _image_id: str, **_: Any) -> Session:
        return self.session


def test_layers_and_prompts_follow_each_other() -> None:
    viewer, server = ViewerModel(), Server()
    image = viewer.add_image(np.zeros(SHAPE, np.int16), name="ct", scale=(2.5, 0.7, 0.7))
    session = ImageSession(viewer, image, open_remote(image, server))  # type: ignore[arg-type]
    assert [layer.name for layer in viewer.layers] == ["ct", MASKS, SHAPES, POINTS]
    assert np.allclose(viewer.layers[MASKS].scale, image.scale)
    session.object_id = 3
    session.apply_defaults()
    corners = np.array([(2, 9.5, 4.5), (2, 9.5, 20.5), (2, 19.5, 20.5), (2, 19.5, 4.5)])
    viewer.layers[SHAPES].add(corners, shape_type="rectangle")
    session.positive = False
    session.apply_defaults()
    viewer.layers[POINTS].add([2, 12.0, 9.0])
    assert session.send(session.layer_prompts()) == {2}
    assert server.session.stored == {
        (2, 3): [
            {"type": "box", "xyxy": [5, 10, 21, 20]},
            {"type": "point", "xy": [9.5, 12.5], "positive": False},
        ]
    }
    session.redraw()
    assert (viewer.layers[MASKS].data[2, 10:20, 5:21] == 3).all()
    viewer.layers[POINTS].data = np.add(viewer.layers[POINTS].data, (0, 1, 0))  # dragged
    session.send(session.layer_prompts())
    assert server.session.stored[2, 3][1]["xy"] == [9.5, 13.5]
    session.refresh()
    assert session.send(session.layer_prompts()) == set()
    assert server.session.commands == ["predict", "replace"]
    viewer.layers[SHAPES].selected_data = {0}
    viewer.layers[SHAPES].remove_selected()
    viewer.layers[POINTS].selected_data = {0}
    viewer.layers[POINTS].remove_selected()
    session.send(session.layer_prompts())
    assert server.session.stored == {}
    viewer.layers[SHAPES].add(corners, shape_type="rectangle")
    session.send(session.layer_prompts())
    session.undo(2)
    session.refresh()
    assert len(viewer.layers[SHAPES].data) == 0
    assert not viewer.layers[MASKS].data.any()


def test_undo_of_several_clicks_shows_the_masks_of_the_server() -> None:
    viewer, server = ViewerModel(), Server()
    image = viewer.add_image(np.zeros(SHAPE, np.int16), name="ct")
    session = ImageSession(viewer, image, open_remote(image, server))  # type: ignore[arg-type]
    points = viewer.layers[POINTS]
    for x in (5, 9, 13):
        points.add([2, 12.0, x])
        assert points.selected_data == {len(points.data) - 1}  # napari selects the newest point
        session.send(session.layer_prompts())
        session.redraw()
    for remaining in (2, 1, 0):
        session.undo(2)
        session.refresh()
        assert len(points.data) == remaining
        assert np.array_equal(viewer.layers[MASKS].data, server.session.labels())
        assert np.count_nonzero(viewer.layers[MASKS].data) == remaining


def test_the_window_stays_free_while_an_image_is_uploaded() -> None:
    from napari_segscope.widget import SegscopeWidget
    from qtpy.QtCore import QElapsedTimer
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    gate = threading.Event()

    class SlowServer(Server):
        def upload_array(self, array: np.ndarray, **more: Any) -> Any:
            assert gate.wait(20)
            return super().upload_array(array, **more)

    def process_until(condition: Callable[[], bool]) -> None:
        clock = QElapsedTimer()
        clock.start()
        while not condition():
            application.processEvents()
            time.sleep(0.01)
            assert clock.elapsed() < 20_000, widget.status.text()

    viewer, server = ViewerModel(), SlowServer()
    viewer.add_image(np.zeros(SHAPE, np.int16), name="ct")
    widget = SegscopeWidget(viewer)
    widget.client = server  # type: ignore[assignment]
    widget.open_image()
    assert widget.session is None
    assert widget.status.text() == "uploading the image ..."
    gate.set()
    process_until(lambda: widget.session is not None)
    for x in (5, 9, 13):
        viewer.layers[POINTS].add([2, 12.0, x])
        sent = len(server.session.commands) + 1
        process_until(lambda sent=sent: len(server.session.commands) == sent)
        process_until(lambda: "changed" in widget.status.text())
    widget.undo()
    assert widget.status.text() == "undo ..."
    process_until(lambda: widget.status.text() == "")
    assert len(viewer.layers[POINTS].data) == 2
    assert np.array_equal(viewer.layers[MASKS].data, server.session.labels())
    widget.close()


def test_the_client_comes_along() -> None:
    assert LabelMap.__module__ in ("napari_segscope._client.label_map", "segscope.client.label_map")


def test_no_server() -> None:
    with pytest.raises(NoServer, match="did not start"):
        LocalServer(program=["false"])


@pytest.mark.skipif(shutil.which("segscope") is None, reason="needs segscope on the PATH")
def test_from_the_menu_to_a_propagated_mask(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from qtpy.QtCore import QElapsedTimer
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 60, (6, 60, 80)).astype(np.int16)
    voxels[1:5, 20:40, 20:40] += 300
    viewer.add_image(voxels, name="ct", scale=(2.5, 1, 1))
    _, widget = viewer.window.add_plugin_dock_widget("napari-segscope", "segscope")
    program = shutil.which("segscope")
    assert program is not None
    server = LocalServer(tmp_path / "project", [program])
    request.addfinalizer(server.stop)

    def until(true: Callable[[], bool], what: str) -> None:
        clock = QElapsedTimer()
        clock.start()
        while not true():
            QApplication.processEvents()
            assert clock.elapsed() < 90_000, (what, widget.status.text())

    widget.url.setText(server.url)
    widget.token.setText(server.token)
    widget.connect_to()
    until(lambda: widget.client is not None, "connect")
    assert widget.images.currentText() == "ct"
    widget.open_image()
    assert widget.session is None, "the image is uploaded by another thread"
    until(lambda: widget.session is not None, "open the image")
    viewer.dims.set_current_step(0, 3)
    corners = np.array([(3, 19.0, 19.0), (3, 19.0, 41.0), (3, 41.0, 41.0), (3, 41.0, 19.0)])
    viewer.layers[SHAPES].add(corners, shape_type="rectangle")
    masks = viewer.layers[MASKS]
    until(lambda: bool((masks.data[3, 20:40, 20:40] == 1).mean() > 0.9), "box")
    widget.propagate()
    until(lambda: "changed" in widget.status.text() and bool(masks.data[1].any()), "propagate")
    assert widget.progress.value() > 2
    image = viewer.screenshot(path=str(tmp_path / "viewer.png"), canvas_only=False)
    assert image.std() > 5
    widget.undo()
    until(lambda: not masks.data[1].any(), "undo")
    assert masks.data[3].any()
    until(lambda: widget.status.text() == "", "the status of the undo")
    widget.close()
    viewer.close()
