"""The widget: connects, and lets clicks and strokes reach the server. All talking happens in one thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from .client import Client, LeaseExpired, ServerError
from .local import LocalServer, NoServer
from .work import Work

SETTLED_MS = (
    150  # after the last change of a layer: a dragged point is sent once, where it was dropped
)
KEYS = {"t": "turn", "n": "next_object", "g": "propagate", "z": "undo", "Shift-Z": "redo"}


class _Signals(QObject):
    done = Signal(object)
    progress = Signal(int, int)


class SegscopeWidget(QWidget):
    """Dock widget of the plug-in."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.work: Work | None = None
        self.client: Client | None = None
        self.server: LocalServer | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segscope")
        self._stop = threading.Event()
        self._signals = _Signals()
        self._signals.done.connect(self._finish)
        self._signals.progress.connect(self._show_progress)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.send)
        self._build()
        for layers in (napari_viewer.layers.events.inserted, napari_viewer.layers.events.removed):
            layers.connect(self._list_images)
        self._list_images()

    # --- what it looks like -----------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.url, self.token = QLineEdit("http://127.0.0.1:8484"), QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.images = QComboBox()
        self.object = QSpinBox()
        self.object.setRange(1, 65535)
        self.object.valueChanged.connect(self._choose)
        self.here = QCheckBox("here (T turns it round)")
        self.here.setChecked(True)
        self.here.toggled.connect(self._choose)
        self.progress = QProgressBar()
        self.said = QLabel("Connect to a server, or start one; then choose an image.")
        self.said.setWordWrap(True)
        self.said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        form = QFormLayout()
        form.addRow("server", self.url)
        form.addRow("token", self.token)
        form.addRow(
            _row(_button("Connect", self.connect_to), _button("Start one here", self.start_here))
        )
        form.addRow("image", self.images)
        form.addRow(_button("Segment this image", self.open_image))
        form.addRow("object", self.object)
        form.addRow("prompts mean", self.here)
        form.addRow(_row(_button("Undo", self.undo), _button("Redo", self.redo)))
        form.addRow(_button("Take over brush strokes of this slice", self.send_strokes))
        form.addRow(_row(_button("Propagate", self.propagate), _button("Stop", self.stop)))
        form.addRow(self.progress)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.said)
        layout.addStretch()

    def _list_images(self, _event: Any = None) -> None:
        chosen = self.images.currentText()
        self.images.clear()
        # judged by name: napari itself is not needed to import this module
        self.images.addItems(
            [layer.name for layer in self.viewer.layers if type(layer).__name__ == "Image"]
        )
        self.images.setCurrentText(chosen)

    # --- the server -------------------------------------------------------------------------------------------------

    def connect_to(self) -> None:
        """Connect to the server whose address is written above."""
        url, token = self.url.text().strip(), self.token.text().strip() or None
        try:
            client = Client(url, token)
        except ValueError as error:
            self.said.setText(str(error))
            return
        self._do("connecting", client.project, lambda told: self._connected(client, told))

    def _connected(self, client: Client, told: dict[str, Any]) -> None:
        self.client = client
        self.said.setText(
            f"Connected to segscope {told['version']}, model {told['model']}. Choose an image."
        )

    def start_here(self) -> None:
        """Start a server on this machine."""
        self._do("starting a server", LocalServer, self._started)

    def _started(self, server: LocalServer) -> None:
        self.server = server
        self.url.setText(server.url)
        self.token.setText(server.token)
        self.connect_to()

    def open_image(self) -> None:
        """Send the chosen image and begin."""
        if self.client is None or not self.images.currentText():
            self.said.setText("Connect to a server and open an image first.")
            return
        self._leave()
        try:  # adds layers, which belongs into this thread
            self.work = Work(
                self.viewer, self.viewer.layers[self.images.currentText()], self.client
            )
        except (ServerError, ValueError) as error:
            self.said.setText(str(error))
            return
        work = self.work
        work.points.events.data.connect(self._changed)
        work.shapes.events.data.connect(self._changed)
        for layer in (
            self.viewer,
            work.points,
            work.shapes,
            work.labels,
        ):  # keys of layers hide those of the viewer
            for key, name in KEYS.items():
                layer.bind_key(key, self._key(name), overwrite=True)
        self.viewer.layers.selection.active = work.points
        work.points.mode = "add"
        self._choose()
        self.said.setText(
            "Click points, draw rectangles and paths; N is the next object, G carries on, Z goes back."
        )

    def _key(self, name: str) -> Callable[[Any], None]:
        def pressed(_: Any) -> None:
            getattr(self, name)()

        return pressed

    # --- prompts ----------------------------------------------------------------------------------------------------

    def _choose(self, _value: Any = None) -> None:
        if self.work is not None:
            self.work.object_id, self.work.positive = self.object.value(), self.here.isChecked()
            self.work.set_defaults()

    def turn(self) -> None:
        """New points mean the opposite."""
        self.here.toggle()

    def next_object(self) -> None:
        """New prompts belong to a further object."""
        used = 0 if self.work is None else int(self.work.label_map.labels.max(initial=0))
        self.object.setValue(max(used, self.object.value()) + 1)

    def _changed(self, _event: Any) -> None:
        if self.work is not None and not self.work.settling:
            self._timer.start(SETTLED_MS)

    def send(self) -> None:
        """Send what was drawn since."""
        work = self.work
        if work is not None:
            drawn = work.drawn()
            self._do("asking", lambda: work.send(drawn), self._drawn)

    def send_strokes(self) -> None:
        """Take the slice over as it was painted in the layer of masks."""
        work = self.work
        if work is not None:
            frame = self.frame()
            labels = np.array(work.labels.data if work.flat else work.labels.data[frame], np.uint16)
            self._do("taking strokes over", lambda: work.send_strokes(frame, labels), self._drawn)

    def _drawn(self, frames: set[int]) -> None:
        if self.work is not None:
            self.work.redraw()
            self.said.setText(f"{len(frames)} slice{'' if len(frames) == 1 else 's'} changed")

    def frame(self) -> int:
        """The slice in view."""
        return 0 if self.work is None or self.work.flat else int(self.viewer.dims.current_step[-3])

    def undo(self) -> None:
        """Take the latest command back."""
        self._step(redo=False)

    def redo(self) -> None:
        """Do again what was undone."""
        self._step(redo=True)

    def _step(self, *, redo: bool) -> None:
        work = self.work
        if work is not None:
            frame = self.frame()
            self._do(
                "redo" if redo else "undo",
                lambda: work.undo(frame, redo=redo),
                lambda _: work.refresh(),
            )

    # --- propagation ------------------------------------------------------------------------------------------------

    def propagate(self) -> None:
        """Carry all objects through the slices."""
        work = self.work
        if work is None:
            return
        self._stop.clear()

        def carry() -> int:
            done = 0
            for done, total in work.propagate():
                self._signals.progress.emit(done, total)
                if self._stop.is_set():
                    break
            return done

        self._do("propagating", carry, lambda done: self._drawn(set(range(done))))

    def stop(self) -> None:
        """Stop the propagation; what was found stays."""
        self._stop.set()

    def _show_progress(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        if self.work is not None and self.frame() < len(self.work.label_map.labels):
            self.work.redraw()

    # --- threads ----------------------------------------------------------------------------------------------------

    def _do(self, what: str, step: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do a step in the thread that talks, and go on in this one."""
        self.said.setText(f"{what} ...")
        future = self._thread.submit(step)
        future.add_done_callback(lambda found: self._signals.done.emit((found, then)))

    def _finish(self, item: tuple[Future[Any], Callable[[Any], None]]) -> None:
        future, then = item
        error = future.exception()
        if isinstance(error, LeaseExpired):
            self.said.setText(f"{error} Press 'Segment this image' again; nothing is lost.")
        elif isinstance(error, (ServerError, NoServer)):
            self.said.setText(str(error))
        elif error is not None:
            raise error
        else:
            then(future.result())

    def _leave(self) -> None:
        if self.work is not None:
            self.work.close()
            self.work = None

    def closeEvent(self, event: Any) -> None:
        """Give everything back."""
        self._stop.set()
        self._leave()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self.server is not None:
            self.server.end()
        super().closeEvent(event)


def _button(text: str, pressed: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda _=False: pressed())
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
