"""ExampleUpdates: examples and heads are made in the background, while answers use the last ones.

The logs of the sessions are the truth. When the accepted masks of a session have become examples,
the index of the examples is marked with the size of its log. A session whose log has another size,
as after a crash, is read again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

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
from segscope.serve.sessions.project_examples import ModelExamples, ProjectExamples
from segscope.serve.sessions.registry import SessionRegistry
from segscope.session.command_log import read_log
from segscope.session.examples.acceptance import Acceptance
from segscope.session.examples.session_examples import SessionExamples
from segscope.session.identity import check_stack
from segscope.session.logged_objects import read_objects
from segscope.session.state import SessionState

log = logging.getLogger("segscope.serve")

STOP_S = 10.0  # for the thread to stop when the server does

Task = Callable[[], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Source:
    """The masks of a session, of which those that are accepted become examples.

    Attributes:
        learning: what the session learns from.
        objects: state of each object.
        log_bytes: size of the log that the objects add up from.
        inference: encodes frames.
        turn: a turn on the device.
    """

    learning: SessionExamples
    objects: Mapping[int, ObjectState]
    log_bytes: int
    inference: InferenceState
    turn: Callable[[], AbstractContextManager[object]]

    def count_prompts(self) -> dict[str, list[int]]:
        """Accepted objects of each label, and the prompts that a person made for them."""
        counts: dict[str, list[int]] = {}
        for obj in self.objects.values():
            if not obj.accepted or obj.unreviewed:
                continue
            count = counts.setdefault(obj.name, [0, 0])
            count[0] += 1
            count[1] += sum(sum(map(is_by_person, prompts)) for prompts in obj.prompts.values())
        return counts


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
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._gate = threading.Condition()
        self._works = False
        self._stopped = False
        self._unsuited: set[Acceptance] = set()
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
        """Make examples of what an open session accepted since, in the background."""

        def work() -> None:
            self._update_open(session_id)

        self._add(session_id, work)

    def check_model(self, model: ModelExamples) -> None:
        """Make examples of the sessions whose logs are newer than the index, in the background."""

        def work() -> None:
            self.check(model)

        self._add(f"check {engine_key(model.engine)}", work)

    def prepare(self, model: ModelExamples) -> None:
        """Fit the heads of the present examples, in the background."""

        def work() -> None:
            self._prepare(model)

        self._add(f"prepare {engine_key(model.engine)}", work)

    @property
    def is_busy(self) -> bool:
        """Whether examples or heads are being made."""
        return self._works or bool(self._tasks)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; False when the time ran out first."""
        with self._gate:
            return self._gate.wait_for(lambda: not self.is_busy, seconds)

    def _add(self, name: str, task: Task) -> None:
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
            with _logged("examples could not be updated"):
                task()

    def _next(self) -> Task | None:
        with self._gate:
            if self._tasks and not self._stopped:
                return self._tasks.popitem(last=False)[1]
            self._works = False
            self._gate.notify_all()
            return None

    # --- checking all sessions -------------------------------------------------------------------

    def check(self, model: ModelExamples, progress: Progress = lambda _done, _total: None) -> None:
        """Make the examples of all sessions agree with their logs."""
        self._prepare(model)
        rows = self._sessions.rows.select()
        self._remove_erased(model, {row["id"] for row in rows})
        own = [row for row in rows if row["model"] in model.models]
        for number, row in enumerate(own):
            if self._stopped:
                return
            with _logged(f"the accepted masks of session {row['id']} teach nothing"):
                self._check_session(row, model)
            progress(number + 1, len(own))
        self._prepare(model)

    def _check_session(self, row: Row, model: ModelExamples) -> None:
        mark = model.examples.mark_of(row["id"])
        size = self._sessions.log_path(row["id"]).stat().st_size
        if mark is not None and mark["log"] == size:
            return
        if not self._update_open(row["id"]):
            self._update_closed(row, model)

    def _remove_erased(self, model: ModelExamples, existing: set[str]) -> None:
        acceptances = model.examples.list_acceptances()
        images = {each.image for each in acceptances if each.object_id}
        for image in (images | model.examples.marks().keys()) - existing:
            model.examples.remove_image(image)

    # --- one session -----------------------------------------------------------------------------

    def _update_open(self, session_id: str) -> bool:
        """Update the examples of a session; False where it is not open."""
        with self._sessions.read_if_open(session_id) as session:
            if session is None or session.work.state.learning is None:
                return False
            learning = session.work.state.learning
            objects, log_bytes = session.snapshot()

            def turn() -> AbstractContextManager[object]:
                return session.turn(Urgency.TRACK)

            self._update(_Source(learning, objects, log_bytes, session.work.inference, turn))
            return True

    def _update_closed(self, row: Row, model: ModelExamples) -> None:
        """Update the examples of a session from its log."""
        path = self._sessions.log_path(row["id"])
        log_bytes = path.stat().st_size
        content = read_log(path)
        stack = self._images.stack(row["image_id"], row["axis"])
        check_stack(content.header.image, stack, path)
        objects = read_objects(content, stack.size_hw)
        learning = self._examples.of_session(row, stack, model.engine)
        if learning is None:
            return
        state = SessionState.begin(stack, model.engine, window=content.header.window)
        queue = self._engines.device_queue(model.engine)

        def turn() -> AbstractContextManager[object]:
            return queue.turn(Urgency.AHEAD)

        try:
            self._update(_Source(learning, objects, log_bytes, state.inference, turn), mark=True)
        finally:
            state.inference.spool.close()

    def _update(self, source: _Source, *, mark: bool = False) -> None:
        """Make the examples of a session agree with what is accepted in it.

        Args:
            mark: also where nothing has changed.
        """
        learning = source.learning
        model = self._examples.find(learning.examples)
        count = len(model.examples)
        listed = learning.list_new(source.objects)
        new = [acceptance for acceptance in listed if acceptance not in self._unsuited]
        if new or len(model.examples) != count:
            self.publish(model, updating=True)
            if not self._learn(model, source, new):
                return
            mark = True
        if mark:
            value = {"log": source.log_bytes, "prompts": source.count_prompts()}
            model.examples.mark(learning.image, value)
            self._prepare(model)

    def _learn(self, model: ModelExamples, source: _Source, new: list[Acceptance]) -> bool:
        """Make examples of acceptances; False where the server stopped before the end."""
        learning = source.learning
        try:
            for number, acceptance in enumerate(new):
                model.pending = len(new) - number
                if self._stopped:
                    return False
                with source.turn():
                    obj = source.objects[acceptance.object_id]
                    learning.learn(source.inference, obj, acceptance)
                if acceptance not in model.examples:
                    self._unsuited.add(acceptance)
        finally:
            model.pending = 0
        return True

    # --- heads -----------------------------------------------------------------------------------

    def _prepare(self, model: ModelExamples) -> None:
        """Fit the heads of the present examples, and publish what they say."""
        for label in model.examples.labels:
            if not self._stopped:
                model.examples.prepare(label)
        self.publish(model, updating=False)

    def publish(self, model: ModelExamples, *, updating: bool) -> None:
        """Send what the examples say to the clients of all sessions of a model."""
        listeners = [
            session_id
            for session_id, session in self._sessions.list_open().items()
            if self._events.has_listeners(session_id) and session.learns_from(model.examples)
        ]
        if not listeners:
            return
        labels = self._examples.describe_labels(model.examples)
        event = ExamplesEvent(
            type="examples",
            updating=updating,
            labels=[label.model_dump() for label in labels],
        )
        for session_id in listeners:
            self._events.publish(session_id, event)


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except SegscopeError as error:
        log.warning("%s: %s", what, error)
    except Exception as error:
        log.warning("%s: %s", what, type(error).__name__)
