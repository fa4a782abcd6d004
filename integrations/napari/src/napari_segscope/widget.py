"""The dock widget: connects to a server and sends it prompts; all requests run in one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

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
from .image_session import ImageSession, OpenedImage, open_remote
from .local import LocalServer, NoServer

DEFAULT_URL = "http://127.0.0.1:8484"
LARGEST_OBJECT_ID = 65535
# time after the last change of a layer: a dragged point is sent once, where it was dropped
SEND_DELAY_MS = 150
Result = TypeVar("Result")


class _Signals(QObject):
    done = Signal(object)
    progress = Signal(int, int)


class SegscopeWidget(QWidget):
    """Dock widget of the plug-in."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session: ImageSession | None = None
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
        layer_events = napari_viewer.layers.events
        layer_events.inserted.connect(self._list_images)
        layer_events.removed.connect(self._list_images)
        self._list_images()

    # --- layout ----------------------------------------------------------------------------------

    def _build(self) -> None:
        self.url = QLineEdit(DEFAULT_URL)
        self.token = QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.images = QComboBox()
        self.object = QSpinBox()
        self.object.setRange(1, LARGEST_OBJECT_ID)
        self.object.valueChanged.connect(self._apply_defaults)
        self.positive = QCheckBox("positive (T toggles)")
        self.positive.setChecked(True)
        self.positive.toggled.connect(self._apply_defaults)
        self.progress = QProgressBar()
        self.status = QLabel("Connect to a server, or start one; then choose an image.")
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.addLayout(self._build_form())
        layout.addWidget(self.status)
        layout.addStretch()

    def _build_form(self) -> QFormLayout:
        form = QFormLayout()
        form.addRow("server", self.url)
        form.addRow("token", self.token)
        connect = _button("Connect", self.connect_to)
        start = _button("Start a server here", self.start_here)
        form.addRow(_row(connect, start))
        form.addRow("image", self.images)
        form.addRow(_button("Segment this image", self.open_image))
        form.addRow("object", self.object)
        form.addRow("prompts", self.positive)
        form.addRow(_row(_button("Undo", self.undo), _button("Redo", self.redo)))
        form.addRow(_button("Apply brush strokes of this slice", self.send_strokes))
        propagate = _button("Propagate", self.propagate)
        form.addRow(_row(propagate, _button("Stop", self.stop)))
        form.addRow(self.progress)
        return form

    def _list_images(self, _event: Any = None) -> None:
        chosen = self.images.currentText()
        self.images.clear()
        # compared by name, so that this module can be imported without napari
        names = [layer.name for layer in self.viewer.layers if type(layer).__name__ == "Image"]
        self.images.addItems(names)
        self.images.setCurrentText(chosen)

    # --- the server ------------------------------------------------------------------------------

    def connect_to(self) -> None:
        """Connect to the server at the address in the form."""
        token = self.token.text().strip() or None
        try:
            client = Client(self.url.text().strip(), token)
        except ValueError as error:
            self.status.setText(str(error))
            return
        self._do("connecting", client.project, lambda project: self._connected(client, project))

    def _connected(self, client: Client, project: dict[str, Any]) -> None:
        self.client = client
        version = project["version"]
        model = project["model"]
        self.status.setText(f"Connected to segscope {version}, model {model}. Choose an image.")

    def start_here(self) -> None:
        """Start a server on this machine."""
        self._do("starting a server", LocalServer, self._started)

    def _started(self, server: LocalServer) -> None:
        self.server = server
        self.url.setText(server.url)
        self.token.setText(server.token)
        self.connect_to()

    def open_image(self) -> None:
        """Upload the chosen image and open its session."""
        name = self.images.currentText()
        if self.client is None or not name:
            self.status.setText("Connect to a server and open an image first.")
            return
        client = self.client
        layer = self.viewer.layers[name]
        previous = self.session
        self.session = None

        def upload() -> OpenedImage:
            if previous is not None:
                previous.close()
            return open_remote(layer, client)

        self._do("uploading the image", upload, lambda opened: self._begin(layer, opened))

    def _begin(self, layer: Any, opened: OpenedImage) -> None:
        """Add the layers of a session, which only this thread may do."""
        self._close_session()
        session = ImageSession(self.viewer, layer, opened)
        self.session = session
        session.points.events.data.connect(self._layer_changed)
        session.shapes.events.data.connect(self._layer_changed)
        # keys of a layer take precedence over those of the viewer
        for layer in (self.viewer, session.points, session.shapes, session.labels):
            self._bind_keys(layer)
        self.viewer.layers.selection.active = session.points
        session.points.mode = "add"
        self._apply_defaults()
        self.status.setText(
            "Click points, draw rectangles and paths. N: next object, G: propagate, Z: undo."
        )

    def _bind_keys(self, layer: Any) -> None:
        actions = {
            "t": self.toggle_sign,
            "n": self.next_object,
            "g": self.propagate,
            "z": self.undo,
            "Shift-Z": self.redo,
        }
        for key, action in actions.items():
            layer.bind_key(key, _key_handler(action), overwrite=True)

    # --- prompts ---------------------------------------------------------------------------------

    def _apply_defaults(self, _value: Any = None) -> None:
        if self.session is not None:
            self.session.object_id = self.object.value()
            self.session.positive = self.positive.isChecked()
            self.session.apply_defaults()

    def toggle_sign(self) -> None:
        """Switch between positive and negative prompts."""
        self.positive.toggle()

    def next_object(self) -> None:
        """Let new prompts be for a new object."""
        largest = self.object.value()
        if self.session is not None:
            largest = max(largest, int(self.session.label_map.labels.max(initial=0)))
        self.object.setValue(largest + 1)

    def _layer_changed(self, _event: Any) -> None:
        if self.session is not None and not self.session.is_refreshing:
            self._timer.start(SEND_DELAY_MS)

    def send(self) -> None:
        """Send the prompts that changed."""
        session = self.session
        if session is not None:
            layers = session.layer_prompts()
            self._do("segmenting", lambda: session.send(layers), self._show_changes)

    def send_strokes(self) -> None:
        """Set the masks of the current slice to what was painted in the layer of masks."""
        session = self.session
        if session is None:
            return
        frame = self.current_frame()
        painted = session.labels.data
        if not session.flat:
            painted = painted[frame]
        labels = np.array(painted, np.uint16)
        self._do(
            "applying brush strokes",
            lambda: session.send_strokes(frame, labels),
            self._show_changes,
        )

    def _show_changes(self, frames: set[int]) -> None:
        if self.session is None:
            return
        self.session.redraw()
        noun = "slices"
        if len(frames) == 1:
            noun = "slice"
        self.status.setText(f"{len(frames)} {noun} changed")

    def current_frame(self) -> int:
        """The current slice."""
        if self.session is None or self.session.flat:
            return 0
        return int(self.viewer.dims.current_step[-3])

    def undo(self) -> None:
        """Undo the latest command."""
        session = self.session
        if session is not None:
            frame = self.current_frame()
            self._do("undo", lambda: session.undo(frame), lambda _: session.refresh())

    def redo(self) -> None:
        """Redo the command that was undone last."""
        session = self.session
        if session is not None:
            frame = self.current_frame()
            self._do("redo", lambda: session.redo(frame), lambda _: session.refresh())

    # --- propagation -----------------------------------------------------------------------------

    def propagate(self) -> None:
        """Track all objects through the slices or frames."""
        session = self.session
        if session is None:
            return
        self._stop.clear()

        def run() -> int:
            done = 0
            for done, total in session.propagate():
                self._signals.progress.emit(done, total)
                if self._stop.is_set():
                    break
            return done

        self._do("propagating", run, lambda done: self._show_changes(set(range(done))))

    def stop(self) -> None:
        """Stop the propagation; its masks so far remain."""
        self._stop.set()

    def _show_progress(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        if self.session is not None and self.current_frame() < len(self.session.label_map.labels):
            self.session.redraw()

    # --- threads ---------------------------------------------------------------------------------

    def _do(
        self, description: str, step: Callable[[], Result], then: Callable[[Result], None]
    ) -> None:
        """Run a step in the request thread, then continue in this one with its result."""
        progress = f"{description} ..."
        self.status.setText(progress)
        future = self._thread.submit(step)
        future.add_done_callback(lambda done: self._signals.done.emit((done, then, progress)))

    def _finish(self, item: tuple[Future[Any], Callable[[Any], None], str]) -> None:
        future, then, progress = item
        error = future.exception()
        if error is None:
            then(future.result())
            if self.status.text() == progress:
                self.status.setText("")
        elif isinstance(error, LeaseExpired):
            self.status.setText(f"{error} Press 'Segment this image' again; no work is lost.")
        elif isinstance(error, (ServerError, NoServer, ValueError)):
            self.status.setText(str(error))
        else:
            self.status.setText(f"{progress.removesuffix(' ...')} failed: {error}")
            raise error

    def _close_session(self) -> None:
        if self.session is not None:
            self.session.close()
            self.session = None

    def closeEvent(self, event: Any) -> None:
        """Release the session and stop the server, if this widget started it."""
        self._stop.set()
        self._close_session()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self.server is not None:
            self.server.stop()
        super().closeEvent(event)


def _key_handler(action: Callable[[], None]) -> Callable[[Any], None]:
    """A handler as napari calls it, with the layer."""

    def handle(_layer: Any) -> None:
        action()

    return handle


def _button(text: str, pressed: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda _=False: pressed())
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
