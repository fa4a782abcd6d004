"""Examples as one session uses them: what counts for its objects, and what it adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from segscope.inference.answers import PromptedFrame
from segscope.masks import decode_runs
from segscope.models.engine import Engine
from segscope.predict.state import InferenceState, ObjectState
from segscope.session.examples.acceptance import Acceptance, find_runs, list_acceptances
from segscope.session.examples.examples import Examples
from segscope.session.identity import stack_identity
from segscope.stack import Stack

ExampleIds = Mapping[int, tuple[str, ...]]
"""Ids of examples by object."""


@dataclass(eq=False)
class SessionExamples:
    """The examples that a session learns from.

    Attributes:
        examples: of all sessions.
        image: opaque id of the session's image.
        group: opaque id of its patient or case.
        label: whose examples all objects learn from; None for those of each object's own name.
        learns: whether answers learn; what is accepted becomes an example either way.
        updates_at_once: whether the session learns within the command that accepts; else whoever
            opened it calls `update`.
    """

    examples: Examples
    image: str
    group: str = ""
    label: str | None = None
    learns: bool = True
    updates_at_once: bool = True

    def choose(self, objects: Mapping[int, ObjectState], object_ids: Iterable[int]) -> ExampleIds:
        """Examples that the next answers of objects learn from; objects without any are left out.

        What was undone in this session does not count.
        """
        if not self.learns:
            return {}
        valid = set(list_acceptances(self.image, objects))

        def counts(acceptance: Acceptance) -> bool:
            return acceptance.image != self.image or acceptance in valid

        chosen: dict[int, tuple[str, ...]] = {}
        for object_id in sorted(object_ids):
            obj = objects.get(object_id)
            label = self.label
            if label is None:
                label = self.examples.find_label("" if obj is None else obj.name)
            if label is None:
                continue
            ids = self.examples.choose(label, counts)
            if ids:
                chosen[object_id] = ids
        return chosen

    def update(self, inference: InferenceState, objects: Mapping[int, ObjectState]) -> None:
        """Learn from what is accepted now, and forget what no longer is."""
        for acceptance in self.list_new(objects):
            self.learn(inference, objects[acceptance.object_id], acceptance)

    def list_new(self, objects: Mapping[int, ObjectState]) -> list[Acceptance]:
        """What is accepted and not learned from yet; what is no longer accepted is forgotten."""
        acceptances = list_acceptances(self.image, objects)
        self.examples.restrict(self.image, acceptances)
        return [acceptance for acceptance in acceptances if acceptance not in self.examples]

    def learn(self, inference: InferenceState, obj: ObjectState, acceptance: Acceptance) -> None:
        """Learn from an acceptance of `list_new`."""
        mask = decode_runs(find_runs(obj, acceptance), inference.stack.size_hw)
        frame = PromptedFrame(
            inference.engine,
            inference.stack.size_hw,
            partial(inference.features.get, acceptance.frame),
        )
        self.examples.accept(frame, mask, acceptance, group=self.group)


def examples_of(
    stack: Stack, engine: Engine, examples: Examples | SessionExamples | None
) -> SessionExamples | None:
    """The examples of a session on a stack.

    Raises:
        UsageError: they are of another engine.
    """
    if isinstance(examples, Examples):
        examples = SessionExamples(examples, stack_identity(stack)["sha256"])
    if examples is not None:
        examples.examples.check_engine(engine)
    return examples
