"""Find all: suggestions of objects like the accepted ones, in a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.errors import SegscopeError, UsageError
from segscope.masks import Masks, decode_runs
from segscope.predict.find_all import AnnotatedFrame, LabelledMask, find_all
from segscope.predict.state import ObjectState
from segscope.prompts import MaskPrompt
from segscope.render import Renderer
from segscope.serve.project.images import Images
from segscope.serve.sessions.device_queue import Urgency
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.project_examples import ProjectExamples
from segscope.serve.sessions.proposals import DEFAULT_SCORE, unreviewed_mask
from segscope.serve.sessions.registry import SessionRegistry
from segscope.serve.sessions.result import CommandResult
from segscope.serve.sessions.suggestions import list_replaced
from segscope.session.command_log import read_log
from segscope.session.examples.acceptance import (
    Acceptance,
    find_runs,
    list_acceptances,
)
from segscope.session.examples.stored_examples import StoredExamples
from segscope.session.logged_objects import read_objects
from segscope.session.suggestions import Suggest
from segscope.stack import Stack

log = logging.getLogger("segscope.serve")

MOST_FRAMES = 6  # whose accepted objects are examples, those of the searched image first
SHARED = 0.5  # share of a mask that may lie in other objects

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        frames: of the session.
        labels: of the objects.
        progress: called with steps done and to do.
        cancelled: checked between steps.
    """

    frames: range
    labels: tuple[str, ...]
    progress: Progress
    cancelled: Callable[[], bool]


class SuggestionFinder:
    """Finds objects like the accepted ones, and makes them suggestions.

    Args:
        examples, sessions, images: of the project.
    """

    def __init__(
        self, examples: ProjectExamples, sessions: SessionRegistry, images: Images
    ) -> None:
        self._examples = examples
        self._sessions = sessions
        self._images = images

    def choose_labels(self, session: OpenSession, labels: Sequence[str] | None) -> tuple[str, ...]:
        """The labels to search for: those that are named, or all with accepted objects.

        Raises:
            UsageError: one of them has none.
        """
        examples = self._examples_of(session)
        accepted = list_acceptances("", session.snapshot()[0])
        present = [each.label for each in accepted if not each.rejected]
        counts = examples.count_by_label()
        present += [label for label, (count, _) in counts.items() if count]
        if labels is None:
            labels = list(dict.fromkeys(present))
        missing = sorted(set(labels) - set(present))
        if missing or not labels:
            names = ", ".join(f'"{label}"' for label in missing) or "any label"
            raise UsageError(
                f"there are no accepted objects of {names} yet; accept some, and find all others "
                "like them then"
            )
        return tuple(dict.fromkeys(labels))

    def find(self, session_id: str, session: OpenSession, search: Search) -> CommandResult:
        """Find all objects on frames of a session, as suggestions; earlier ones of the same labels
        there are replaced.

        Raises:
            UsageError: the examples do not fit.
            Cancelled: nothing was added.
        """
        objects, _ = session.snapshot()
        examples = self._examples_of(session)
        own, others = _split(list_acceptances(session_id, objects), search.frames)
        annotated = [
            _annotate(session, objects, frame, masks, search) for frame, masks in own.items()
        ]
        for frame, masks in list(others.items())[: MOST_FRAMES - len(annotated)]:
            mine = _mark(objects, masks, search.labels, session.size_hw)
            annotated.append(AnnotatedFrame(*mine, rgb=session.work.rendered(frame), id=session_id))
        room = MOST_FRAMES - len(annotated)
        annotated += self.annotate(examples, search.labels, room, other_than=session_id)
        found = self._search(session, annotated, search)
        ids = {label: examples.list_ids(label) for label in search.labels}
        return _suggest(session, found, search, ids)

    def _examples_of(self, session: OpenSession) -> StoredExamples:
        learning = session.work.state.learning
        if learning is None:
            raise UsageError("this session has no examples; check the disk of the project")
        return self._examples.find(learning.examples).examples

    def _search(
        self, session: OpenSession, annotated: Sequence[AnnotatedFrame], search: Search
    ) -> Masks:
        """Masks on the frames that are searched, by their place among them."""
        queue = session.device

        def progress(done: int, total: int) -> None:
            search.progress(done, total)
            queue.give_way(Urgency.TRACK, session.annotator)

        stack = session.work.stack
        window: Mapping[str, object] | None = session.work.window
        if len(search.frames) < len(stack):
            rendered = session.work.rendered(search.frames[0])
            stack = Stack.from_array(rendered, channels=True)
            window = None
        with queue.turn(Urgency.TRACK, session.annotator):
            return find_all(
                stack,
                session.work.engine,
                annotated,
                window=window,
                progress=progress,
                cancel=search.cancelled,
            )

    # --- other images ----------------------------------------------------------------------------

    def annotate(
        self,
        examples: StoredExamples,
        labels: Collection[str],
        room: int = MOST_FRAMES,
        *,
        other_than: str = "",
    ) -> list[AnnotatedFrame]:
        """Frames with accepted objects of labels, the latest sessions first.

        Args:
            examples: of a model.
            labels: of the objects.
            room: at most so many frames.
            other_than: id of a session that is left out.
        """
        by_session: dict[str, list[Acceptance]] = {}
        for acceptance in reversed(examples.list_acceptances()):
            known = acceptance.object_id and acceptance.image != other_than
            if known and acceptance.label in labels:
                by_session.setdefault(acceptance.image, []).append(acceptance)
        annotated: list[AnnotatedFrame] = []
        for session_id, acceptances in by_session.items():
            if len(annotated) >= room:
                break
            try:
                annotated += self._read_annotated(session_id, acceptances, labels)
            except (SegscopeError, OSError) as error:
                log.warning("session %s is no example: %s", session_id, error)
        return annotated[: max(room, 0)]

    def _read_annotated(
        self, session_id: str, acceptances: Iterable[Acceptance], labels: Collection[str]
    ) -> list[AnnotatedFrame]:
        row = self._sessions.row(session_id)
        content = read_log(self._sessions.log_path(session_id))
        stack = self._images.stack(row["image_id"], row["axis"])
        objects = read_objects(content, stack.size_hw)
        valid = set(list_acceptances(session_id, objects))
        frames = Renderer(stack, content.header.window)
        by_frame: dict[int, list[Acceptance]] = {}
        for acceptance in acceptances:
            if acceptance in valid:
                by_frame.setdefault(acceptance.frame, []).append(acceptance)
        annotated = []
        for frame, masks in by_frame.items():
            marked, rejected = _mark(objects, masks, labels, stack.size_hw)
            if marked:
                annotated.append(AnnotatedFrame(marked, rejected, rgb=frames[frame], id=session_id))
        return annotated


# --- the searched image --------------------------------------------------------------------------


def _split(
    acceptances: Iterable[Acceptance], searched: range
) -> tuple[dict[int, list[Acceptance]], dict[int, list[Acceptance]]]:
    """Acceptances by frame: of the searched frames, and of others."""
    own: dict[int, list[Acceptance]] = {}
    others: dict[int, list[Acceptance]] = {}
    for acceptance in acceptances:
        place = own if acceptance.frame in searched else others
        place.setdefault(acceptance.frame, []).append(acceptance)
    return own, others


def _annotate(
    session: OpenSession,
    objects: Mapping[int, ObjectState],
    frame: int,
    acceptances: Iterable[Acceptance],
    search: Search,
) -> AnnotatedFrame:
    """The accepted and rejected objects of a frame that is searched."""
    marked, rejected = _mark(objects, acceptances, search.labels, session.size_hw)
    return AnnotatedFrame(marked, rejected, frame=search.frames.index(frame))


def _mark(
    objects: Mapping[int, ObjectState],
    acceptances: Iterable[Acceptance],
    labels: Collection[str],
    size_hw: tuple[int, int],
) -> tuple[tuple[LabelledMask, ...], tuple[LabelledMask, ...]]:
    """Objects of labels, and what is none of them: rejected masks, and objects of other labels."""
    marked: list[LabelledMask] = []
    rejected: list[LabelledMask] = []
    for acceptance in acceptances:
        mask = decode_runs(find_runs(objects[acceptance.object_id], acceptance), size_hw)
        if acceptance.label not in labels:
            if not acceptance.rejected:
                rejected += [LabelledMask(label, mask) for label in labels]
        elif acceptance.rejected:
            rejected.append(LabelledMask(acceptance.label, mask))
        else:
            marked.append(LabelledMask(acceptance.label, mask))
    return tuple(marked), tuple(rejected)


def _suggest(
    session: OpenSession,
    masks: Masks,
    search: Search,
    ids: Mapping[str, tuple[str, ...]],
) -> CommandResult:
    """Make masks suggestions, in one command. Existing objects keep their pixels."""
    with session.exclusive():
        objects = session.work.objects
        replaced = list_replaced(objects, search.labels, search.frames)
        next_id = max([0, *objects]) + 1
        prompts: list[MaskPrompt] = []
        labels: dict[int, str] = {}
        for place, frame in enumerate(search.frames):
            free = ~_cover(session, frame, replaced)
            for number in masks.object_ids:
                mask = masks.mask(place, number)
                remaining = mask & free
                if not mask.any() or remaining.sum() <= SHARED * mask.sum():
                    continue
                object_id = next_id + len(labels)
                score = masks.scores.get((place, number), DEFAULT_SCORE)
                prompts.append(unreviewed_mask(remaining, frame, object_id, score))
                labels[object_id] = masks.names[number]
        if not prompts and not replaced:
            return CommandResult()
        return session.execute(Suggest(tuple(prompts), labels, tuple(replaced), ids))


def _cover(session: OpenSession, frame: int, replaced: Collection[int]) -> NDArray[np.bool_]:
    """(row, column) pixels of a frame that lie in objects which stay."""
    covered = np.zeros(session.size_hw, bool)
    for object_id, runs in session.visible_masks(frame).items():
        if object_id not in replaced:
            covered |= decode_runs(runs, session.size_hw)
    return covered
