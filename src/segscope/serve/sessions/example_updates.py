"""ExampleUpdates: examples and heads are made in the background, while answers use the last ones.

The logs of the sessions are the truth. A session is marked in the index of the examples with the
size of its log when its accepted masks are examples; one whose log has another size, as after a
crash, is read again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import SegscopeError
from segscope.inference.learning.observation import engine_key
from segscope.predict.state import InferenceState, ObjectState
from segscope.prompts import is_by_person
from segscope.serve.background import BackgroundThreads
from segscope.serve.project.database import Row
from segscope.serve.project.images import Images
from segscope.serve.sessions.device_queue import Urgency
from segscope.serve.sessions.events import EventBus, ExamplesEvent
from segscope.serve.sessions.model_pool import ModelPool
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.project_examples import ModelExamples, ProjectExamples
from segscope.serve.sessions.registry import SessionRegistry
from segscope.session.command_log import read_log
from segscope.session.examples.acceptance import list_acceptances
from segscope.session.examples.session_examples import SessionExamples
from segscope.session.logged_objects import read_objects
from segscope.session.state import SessionState
from segscope.wire import JsonObject

log = logging.getLogger("segscope.serve")

STOP_S = 10.0  # for the thread to stop when the server does


@dataclass(frozen=True)
class _Source:
    """The accepted masks of a session, as they are encoded.

    Attributes:
        learning: where they become examples.
        objects: state of each object.
        inference: encodes frames.
        turn: a turn on the device.
        log_bytes: size of the log that the objects add up from.
    """

    learning: SessionExamples
    objects: Mapping[int, ObjectState]
    inference: InferenceState
    turn: Callable[[], AbstractContextManager[object]]
    log_bytes: int


class ExampleUpdates:
    """Makes examples of what sessions accept, in one thread.

    Args:
        examples: of the project.
        sessions, images, engines: of the project.
        events: where changes are published.
    """

    def __init__(
        self,
        examples: ProjectExamples,
        sessions: SessionRegistry,
        images: Images,
        engines: ModelPool,
        events: EventBus,
    ) -> None:
        self._examples = examples
        self._sessions = sessions
        self._images = images
        self._engines = engines
        self._events = events
        self._tasks: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._gate = threading.Condition()
        self._works = False
        self._stopped = False
        self._background = BackgroundThreads("segscope-examples")
        sessions.changed = self.update_session
        examples.opened = self.check_model

    def close(self) -> None:
        """Give up what is not done yet; the next start does it."""
        with self._gate:
            self._stopped = True
            self._tasks.clear()
        self._background.close(STOP_S)

    # --- tasks -----------------------------------------------------------------------------------

    def update_session(self, session_id: str) -> None:
        """Make examples of what a session accepted since, in the background."""
        self._add(session_id, lambda: self._update_open(session_id))

    def check_model(self, model: ModelExamples) -> None:
        """Make examples of the sessions whose logs are newer than the index, in the background."""
        self._add(f"check {engine_key(model.engine)}", lambda: self.check(model))

    def prepare(self, model: ModelExamples) -> None:
        """Fit the heads of the present examples, in the background."""
        self._add(f"prepare {engine_key(model.engine)}", lambda: self._prepare(model))

    @property
    def is_busy(self) -> bool:
        """Whether examples or heads are being made."""
        return self._works or bool(self._tasks)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; False when the time ran out first."""
        with self._gate:
            return self._gate.wait_for(lambda: not self.is_busy, seconds)

    def _add(self, name: str, task: Callable[[], None]) -> None:
        with self._gate:
            if self._stopped:
                return
            self._tasks[name] = task
            if self._works:
                return
            self._works = True
        try:
            self._background.start(self._work)
        except RuntimeError:  # the system has no thread left; the next command tries again
            self._works = False

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except SegscopeError as error:
                log.warning("examples could not be updated: %s", error)
            except Exception as error:
                log.warning("examples could not be updated: %s", type(error).__name__)

    def _next(self) -> Callable[[], None] | None:
        with self._gate:
            if self._tasks and not self._stopped:
                return self._tasks.popitem(last=False)[1]
            self._works = False
            self._gate.notify_all()
            return None

    # --- one session -----------------------------------------------------------------------------

    def _update_open(self, session_id: str) -> bool:
        """Update the examples of a session; False where it is not open."""
        with self._sessions.use_if_open(session_id) as session:
            if session is None or session.work.state.learning is None:
                return False
            learning = session.work.state.learning
            objects, log_bytes = session.snapshot()

            def turn() -> AbstractContextManager[object]:
                return session.turn(Urgency.TRACK)

            inference = session.work.inference
            self._update(_Source(learning, objects, inference, turn, log_bytes))
            return True

    def _update_closed(self, row: Row, model: ModelExamples) -> None:
        """Update the examples of a session from its log."""
        path = self._sessions.log_path(row["id"])
        log_bytes = path.stat().st_size
        content = read_log(path)
        stack = self._images.stack(row["image_id"], row["axis"])
        check_stack(content.header.image, stack, path)
        objects = read_objects(content, stack.size_hw)
        learning = self._examples.of_session(
            row["id"], row["image_id"], stack, model.engine, row["model"]
        )
        state = SessionState.begin(stack, model.engine, window=content.header.window)
        queue = self._engines.device_queue(model.engine)

        def turn() -> AbstractContextManager[object]:
            return queue.turn(Urgency.AHEAD)

        try:
            source = _Source(learning, objects, state.inference, turn, log_bytes)
            if not self._update(source):
                self._mark(source)
        finally:
            state.inference.spool.close()

    def _update(self, source: _Source) -> bool:
        """Make the examples of a session agree with what is accepted in it; whether they changed."""
        learning = source.learning
        examples = learning.examples
        assert isinstance(examples, StoredExamples)
        model = self._examples.of(examples.engine, "")
        before = len(examples)
        new = learning.list_new(source.objects)
        if not new and len(examples) == before:
            return False
        self._publish(model, updating=True)
        for acceptance in new:
            if self._stopped:
                return True
            with source.turn():
                obj = source.objects[acceptance.object_id]
                learning.learn(source.inference, obj, acceptance)
        self._mark(source)
        self._prepare(model)
        return True
