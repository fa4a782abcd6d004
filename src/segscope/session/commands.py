"""Commands: everything that can be done in a session, each defined once.

A command is an immutable value from the socket to the log. It becomes JSON where it is written and
is read back from there; nothing in between sees it as a dict. `COMMANDS` is the table of them all.
Undo and redo are lines of the log as well, but change no state by themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import torch

from segscope.errors import PromptError, ReadError, UsageError
from segscope.masks import FrameMask
from segscope.predict.propagation import PropagationRange, propagate
from segscope.predict.state import Candidate
from segscope.predict.stop_rules import StopRules
from segscope.prompts import Prompt, check_prompts
from segscope.session.command_json import (
    dump_examples,
    dump_prompts,
    parse_examples,
    parse_prompts,
)
from segscope.session.entries import LogEntry, ObjectCommand, Redo, SessionCommand, Undo
from segscope.session.examples.session_examples import ExampleIds
from segscope.session.state import SessionState
from segscope.session.suggestions import Reject, Review, Suggest
from segscope.wire import JsonObject

# --- prompts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Add(SessionCommand):
    """Add prompts and answer them; those of one object on one frame together.

    Attributes:
        prompts: in the order in which they were made.
        examples: ids of the examples that the answers learn from, by object.
    """

    word = "add"
    prompts: tuple[Prompt, ...]
    examples: ExampleIds = field(default_factory=dict)

    @property
    def places(self) -> frozenset[tuple[int, int]]:
        return frozenset((prompt.frame, prompt.object_id) for prompt in self.prompts)

    @property
    def prompts_by_object(self) -> Mapping[int, Sequence[Prompt]]:
        groups: dict[int, list[Prompt]] = {}
        for prompt in self.prompts:
            groups.setdefault(prompt.object_id, []).append(prompt)
        return groups

    def check(self, state: SessionState) -> None:
        if not self.prompts:
            raise PromptError("add at least one prompt")
        check_prompts(self.prompts, state.inference.stack.shape_zyx)

    def learn(self, state: SessionState) -> Self:
        return replace(self, examples=state.choose_examples(self.object_ids))

    def apply(self, state: SessionState) -> FrameMask | None:
        answer = state.answer(self.prompts, self.examples)
        state.review_prompted(self.prompts)
        return answer

    def to_json(self) -> JsonObject:
        item = {"do": self.word, "prompts": dump_prompts(self.prompts)}
        return {**item, **dump_examples(self.examples)}

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        return cls(parse_prompts(item["prompts"]), parse_examples(item))


@dataclass(frozen=True)
class Replace(SessionCommand):
    """Put other prompts in the place of those of an object on a frame.

    Where tracking had passed the frame and no prompts are left, its mask returns.

    Attributes:
        examples: ids of the examples that the answer learns from, by object.
    """

    word = "replace"
    frame: int
    object_id: int
    prompts: tuple[Prompt, ...]
    examples: ExampleIds = field(default_factory=dict)

    @property
    def places(self) -> frozenset[tuple[int, int]]:
        return frozenset({(self.frame, self.object_id)})

    @property
    def prompts_by_object(self) -> Mapping[int, Sequence[Prompt]]:
        return {self.object_id: self.prompts}

    def check(self, state: SessionState) -> None:
        check_prompts(self.prompts, state.inference.stack.shape_zyx)
        state.object(self.object_id)
        place = (self.frame, self.object_id)
        if any((prompt.frame, prompt.object_id) != place for prompt in self.prompts):
            raise PromptError(
                f"prompts that replace others belong to object {self.object_id} on frame "
                f"{self.frame}"
            )

    def apply(self, state: SessionState) -> FrameMask | None:
        state.withdraw_prompts(self.frame, self.object_id)
        if not self.prompts:
            return None
        answer = state.answer(self.prompts, self.examples)
        state.review_prompted(self.prompts)
        return answer

    def learn(self, state: SessionState) -> Self:
        return replace(self, examples=state.choose_examples(self.object_ids))

    def to_json(self) -> JsonObject:
        return {
            "do": self.word,
            "frame": self.frame,
            "object_id": self.object_id,
            "prompts": dump_prompts(self.prompts),
            **dump_examples(self.examples),
        }

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        prompts = parse_prompts(item["prompts"])
        return cls(item["frame"], item["object_id"], prompts, parse_examples(item))


@dataclass(frozen=True)
class Choose(SessionCommand):
    """Take another of the masks that ambiguous prompts may mean."""

    word = "choose"
    frame: int
    object_id: int
    index: int

    @property
    def places(self) -> frozenset[tuple[int, int]]:
        return frozenset({(self.frame, self.object_id)})

    def check(self, state: SessionState) -> None:
        result = state.object(self.object_id).answers.get(self.frame)
        candidates: Sequence[Candidate] = ()
        if result is not None:
            candidates = result.candidates
        if not 0 <= self.index < len(candidates):
            raise UsageError(
                f"object {self.object_id} has {len(candidates)} masks to choose from on frame "
                f"{self.frame}, numbered from 0; got {self.index}. "
                "There is a choice after a single click."
            )

    @torch.inference_mode()
    def apply(self, state: SessionState) -> FrameMask | None:
        inference = state.inference
        obj = state.objects[self.object_id]
        before = obj.answers[self.frame]
        candidate = before.candidates[self.index]
        logits = inference.spool.get(candidate.logits, inference.engine.device)
        memory = None
        if inference.remembers and inference.engine.window_rule is None:
            mask = inference.on_frame(logits, candidate.view) > 0
            _, (memory,) = inference.remember_masks(self.frame, [mask])
        result, frame_logits = inference.answer(
            logits,
            candidate.view,
            score=candidate.score,
            object_score=before.object_score,
            memory=memory,
            note=candidate.note,
        )
        result = replace(result, candidates=before.candidates, chosen=self.index)
        obj.answers[self.frame] = result
        obj.accepted -= {self.frame}
        return inference.frame_mask(self.frame, self.object_id, result, frame_logits)


@dataclass(frozen=True)
class Clear(SessionCommand):
    """Remove all prompts and the mask of an object on one frame."""

    word = "clear"
    frame: int
    object_id: int

    @property
    def places(self) -> frozenset[tuple[int, int]]:
        return frozenset({(self.frame, self.object_id)})

    def check(self, state: SessionState) -> None:
        state.object(self.object_id)

    def apply(self, state: SessionState) -> None:
        state.clear_frame(self.frame, self.object_id)


# --- objects -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remove(ObjectCommand):
    """Remove an object with its prompts and masks."""

    word = "remove"

    def check(self, state: SessionState) -> None:
        state.object(self.object_id)

    def apply(self, state: SessionState) -> None:
        state.objects.pop(self.object_id)


@dataclass(frozen=True)
class Rename(ObjectCommand):
    """Label an object, which need not exist yet."""

    word = "rename"
    name: str

    def apply(self, state: SessionState) -> None:
        state.ensure_object(self.object_id).name = self.name


@dataclass(frozen=True)
class Describe(ObjectCommand):
    """Set properties of an object (colour, code, comment ...) and its label; it need not exist yet.

    Attributes:
        name: the label; None leaves it.
        about: JSON values by property; None removes one. `locked` says that the object is finished:
            where masks overlap, its pixels stay its own.
    """

    word = "describe"
    name: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, state: SessionState) -> None:
        obj = state.ensure_object(self.object_id)
        if self.name is not None:
            obj.name = self.name
        if self.about.get("locked") and not obj.locked:
            for frame in obj.answers:
                state.freeze_composed(frame, [self.object_id])
        merged = {**obj.about, **self.about}
        obj.about = {key: value for key, value in merged.items() if value is not None}


# --- acceptance ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confirm(SessionCommand):
    """Make the mask of an object on a frame one that propagation keeps and starts from."""

    word = "confirm"
    frame: int
    object_id: int

    @property
    def object_ids(self) -> frozenset[int]:
        return frozenset({self.object_id})

    def check(self, state: SessionState) -> None:
        state.result(self.frame, self.object_id)

    def apply(self, state: SessionState) -> None:
        state.objects[self.object_id].anchors |= {self.frame}


@dataclass(frozen=True)
class Accept(SessionCommand):
    """Confirm masks of a frame exactly as they are displayed, or withdraw that.

    Accepted masks keep their pixels where others overlap them.

    Attributes:
        unreviewed: those of the objects that are accepted in bulk: nobody has reviewed them.
    """

    word = "accept"
    frame: int
    objects: tuple[int, ...]
    accepted: bool = True
    unreviewed: tuple[int, ...] = ()

    @property
    def object_ids(self) -> frozenset[int]:
        return frozenset(self.objects)

    @property
    def frames(self) -> frozenset[int]:
        return frozenset({self.frame})

    def check(self, state: SessionState) -> None:
        for object_id in self.objects:
            state.result(self.frame, object_id)

    def apply(self, state: SessionState) -> None:
        if self.accepted:
            state.freeze_composed(self.frame, self.objects)
        for object_id in self.objects:
            obj = state.objects[object_id]
            if self.accepted:
                obj.anchors |= {self.frame}
                obj.accepted |= {self.frame}
                obj.mark_reviewed(object_id not in self.unreviewed)
                continue
            obj.accepted -= {self.frame}
            if self.frame not in obj.prompts:
                obj.anchors -= {self.frame}

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        unreviewed = tuple(item.get("unreviewed", ()))
        return cls(item["frame"], tuple(item["objects"]), item["accepted"], unreviewed)


# --- propagation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Propagate(SessionCommand):
    """Track objects through the frames.

    Attributes:
        range: which frames, and when to stop.
        objects: ids of the objects to track.
        frame_count: frames that were done; fewer than the range has where it was cancelled.
        examples: ids of the examples that the masks learn from, by object.
    """

    word = "propagate"
    range: PropagationRange
    objects: tuple[int, ...]
    frame_count: int = 0
    examples: ExampleIds = field(default_factory=dict)

    @property
    def object_ids(self) -> frozenset[int]:
        return frozenset(self.objects)

    def check(self, state: SessionState) -> None:
        tracked = list(map(state.object, self.objects))
        self.range.bounds(len(state.inference.stack))
        if not any(obj.anchors for obj in tracked):
            raise PromptError("nothing to propagate: prompt an object on some frame first")

    def learn(self, state: SessionState) -> Self:
        return replace(self, examples=state.choose_examples(self.objects))

    def results(
        self, state: SessionState, cancelled: Callable[[], bool]
    ) -> Iterator[list[FrameMask]]:
        """Masks frame by frame; `cancelled` is checked before each frame."""
        chosen = {object_id: state.objects[object_id] for object_id in self.objects}
        heads = state.heads(self.examples)
        return propagate(state.inference, chosen, self.range, cancelled, heads)

    def apply(self, state: SessionState) -> None:
        self.repeat(state, lambda: None)

    def repeat(self, state: SessionState, pause: Callable[[], None]) -> None:
        """Do it to the same frame as the first time; `pause` is called after each frame."""
        count = itertools.count()
        for _ in self.results(state, lambda: next(count) >= self.frame_count):
            pause()

    def to_json(self) -> JsonObject:
        rules = None
        if self.range.rules is not None:
            rules = asdict(self.range.rules)
        return {
            "do": self.word,
            "direction": self.range.direction,
            "start": self.range.start,
            "within": self.range.within,
            "rules": rules,
            "objects": self.objects,
            "frame_count": self.frame_count,
            **dump_examples(self.examples),
        }

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        within = None
        if item["within"] is not None:
            low, high = item["within"]
            within = (low, high)
        rules = None
        if item["rules"] is not None:
            rules = StopRules(**item["rules"])
        chosen = PropagationRange(item["direction"], item["start"], within, rules)
        objects = tuple(item["objects"])
        return cls(chosen, objects, item["frame_count"], parse_examples(item))


# --- the table -----------------------------------------------------------------------------------

COMMANDS: tuple[type[SessionCommand], ...] = (
    Add,
    Replace,
    Choose,
    Clear,
    Remove,
    Rename,
    Describe,
    Confirm,
    Accept,
    Propagate,
    Suggest,
    Reject,
    Review,
)
_ENTRIES: tuple[type[LogEntry], ...] = (*COMMANDS, Undo, Redo)
_BY_WORD: Mapping[str, type[LogEntry]] = {kind.word: kind for kind in _ENTRIES}


def entry_from_json(item: JsonObject) -> LogEntry:
    """The command, undo or redo of a line of the log.

    Raises:
        ReadError: unknown, or with fields that are missing or malformed.
    """
    word = item.get("do")
    kind = _BY_WORD.get(str(word))
    if kind is None:
        raise ReadError(
            f"unknown command {word!r}; the log was written by another version of segscope"
        )
    try:
        return kind.from_json(item)
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"the command {word!r} is malformed: {error!r}") from error
