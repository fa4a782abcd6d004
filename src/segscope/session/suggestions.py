"""Suggestions: masks that were found with examples, and what a person makes of them.

A suggestion is an object that nobody has reviewed (`unreviewed` among its properties) and nobody
has accepted. What is accepted in bulk stays unreviewed. A rejected one leaves its masks as an
example of what its label is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from segscope.errors import UsageError
from segscope.masks import FrameMask
from segscope.predict.state import ObjectState
from segscope.prompts import Prompt, check_prompts
from segscope.session.command_json import dump_prompts, parse_prompts
from segscope.session.entries import SessionCommand
from segscope.session.examples.acceptance import reject_object
from segscope.session.state import SessionState
from segscope.wire import JsonObject


@dataclass(frozen=True)
class Suggest(SessionCommand):
    """Add masks that were found as suggestions, one object each.

    Attributes:
        prompts: masks, whose scores are the confidences.
        labels: of the objects.
        replaced: suggestions that are removed before.
        examples: ids of the examples that the masks were learned from, by label.
    """

    word = "suggest"
    prompts: tuple[Prompt, ...]
    labels: Mapping[int, str]
    replaced: tuple[int, ...] = ()
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def places(self) -> frozenset[tuple[int, int]]:
        return frozenset((prompt.frame, prompt.object_id) for prompt in self.prompts)

    @property
    def object_ids(self) -> frozenset[int]:
        return frozenset({*self.labels, *self.replaced})

    @property
    def prompts_by_object(self) -> Mapping[int, Sequence[Prompt]]:
        groups: dict[int, list[Prompt]] = {}
        for prompt in self.prompts:
            groups.setdefault(prompt.object_id, []).append(prompt)
        return groups

    def check(self, state: SessionState) -> None:
        check_prompts(self.prompts, state.inference.stack.shape_zyx)
        existing = sorted(self.labels.keys() & state.objects.keys())
        if existing:
            raise UsageError(f"suggestions are new objects; there are objects {existing} already")
        for object_id in self.replaced:
            state.object(object_id)

    def apply(self, state: SessionState) -> FrameMask | None:
        for object_id in self.replaced:
            state.objects.pop(object_id)
        for object_id, label in self.labels.items():
            obj = state.ensure_object(object_id)
            obj.name = label
            obj.mark_reviewed(False)
        if not self.prompts:
            return None
        return state.answer(self.prompts, {})

    def to_json(self) -> JsonObject:
        return {
            "do": self.word,
            "prompts": dump_prompts(self.prompts),
            "labels": {str(object_id): label for object_id, label in self.labels.items()},
            "replaced": self.replaced,
            "examples": self.examples,
        }

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        labels = {int(object_id): str(label) for object_id, label in item["labels"].items()}
        examples = {label: tuple(ids) for label, ids in item["examples"].items()}
        prompts = parse_prompts(item["prompts"])
        return cls(prompts, labels, tuple(item["replaced"]), examples)


@dataclass(frozen=True)
class _OnObjects(SessionCommand):
    """A command on several objects."""

    objects: tuple[int, ...]

    @property
    def object_ids(self) -> frozenset[int]:
        return frozenset(self.objects)

    def check(self, state: SessionState) -> None:
        if not self.objects:
            raise UsageError("name at least one object")
        for object_id in self.objects:
            state.object(object_id)

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        return cls(tuple(item["objects"]))


@dataclass(frozen=True)
class Reject(_OnObjects):
    """Remove objects whose masks are wrong, and remember them as what their labels are not."""

    word = "reject"

    def check(self, state: SessionState) -> None:
        super().check(state)
        for object_id in self.objects:
            obj = state.object(object_id)
            if obj.accepted:
                raise UsageError(
                    f"object {object_id} has accepted masks; withdraw the acceptance before you "
                    "reject it"
                )
            if not any(answer.area for answer in obj.answers.values()):
                raise UsageError(f"object {object_id} has no mask that could be rejected")

    def apply(self, state: SessionState) -> None:
        for object_id in self.objects:
            state.objects[object_id] = reject_object(state.objects[object_id])


@dataclass(frozen=True)
class Review(_OnObjects):
    """Note that a person has looked at objects that were accepted in bulk."""

    word = "review"

    def apply(self, state: SessionState) -> None:
        for object_id in self.objects:
            state.objects[object_id].mark_reviewed(True)


def is_suggestion(obj: ObjectState) -> bool:
    """Whether an object waits for a person to accept or reject it."""
    return obj.unreviewed and not obj.accepted
