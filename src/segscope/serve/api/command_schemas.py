"""Commands that clients send: what each may say, and what it does to an open session.

`COMMANDS` is the table of them: the routes, the socket and `/v1/openapi.json` follow from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segscope.errors import PromptError
from segscope.prompts import Box, MaskPrompt, Point, Prompt
from segscope.serve.answers import Encoding
from segscope.serve.api.schemas import (
    CodedMeaning,
    Colour,
    Corners,
    Frame,
    Long,
    Number,
    ObjectId,
    Pair,
    RequestBody,
    Short,
)
from segscope.serve.sessions.mask_patch import decode_text, draw_mask
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.propagation import PropagateRequest
from segscope.serve.sessions.result import CommandResult
from segscope.session.commands import Add, Choose, Clear, Replace
from segscope.session.suggestions import Reject, Review
from segscope.wire import JsonObject, prompt_from_json

# a point, box, scribble or mask as prompt files have it
PromptItems = Annotated[list[JsonObject], Field(max_length=1000)]


class RequestOptions(RequestBody):
    """Options of every command.

    Attributes:
        seq: a number that the answer repeats, so that clients recognise late answers.
        encoding: of the masks in the answer.
    """

    seq: int | None = None
    encoding: Encoding = "bits"


class CommandRequest(RequestOptions, ABC):
    """A command on a session.

    Attributes:
        word: its name in paths and on the socket.
    """

    word: ClassVar[str]

    @abstractmethod
    def run(self, session: OpenSession) -> CommandResult | None:
        """Do it; None when there is nothing to do."""

    def propagation(self, _session: OpenSession, _result: CommandResult) -> PropagateRequest | None:
        """A propagation that follows it."""
        return None


# --- prompts -------------------------------------------------------------------------------------


class PromptsRequest(RequestOptions):
    """Prompts for one object on one frame; `prompts` may name other objects and frames."""

    frame: Frame = 0
    object_id: ObjectId = 1
    points: Annotated[list[tuple[Number, Number, Literal[0, 1]]], Field(max_length=1000)] = Field(
        default_factory=list
    )
    boxes: Annotated[list[Corners], Field(max_length=100)] = Field(default_factory=list)
    prompts: PromptItems = Field(default_factory=list)
    multimask: bool = False
    force: bool = False
    instead: bool = False

    def parse_prompts(self) -> tuple[Prompt, ...]:
        """All prompts in order: `prompts`, boxes, points.

        Raises:
            PromptError: there are none, or one is malformed.
        """
        prompts = parse_prompts(self.prompts, self.frame, self.object_id)
        prompts += [Box(box, self.frame, self.object_id) for box in self.boxes]
        prompts += [
            Point(x, y, self.frame, self.object_id, bool(positive))
            for x, y, positive in self.points
        ]
        if not prompts:
            raise PromptError("no prompts: give points, boxes or prompts")
        return tuple(prompts)


class HoverRequest(PromptsRequest):
    """What `predict` would answer; nothing is stored.

    `instead`: the prompts take the place of those of the object on the frame.
    """


class PredictRequest(PromptsRequest, CommandRequest):
    """Add prompts, and answer with masks."""

    word = "predict"

    def run(self, session: OpenSession) -> CommandResult | None:
        command = Add(self.parse_prompts())
        return session.execute(command, force=self.force, candidates=self.multimask)


class CorrectRequest(PredictRequest):
    """Add prompts like `predict`, then propagate to the neighbouring prompted or accepted frames.

    The answer names the job that propagates; `within` sets other first and last frames.
    """

    word = "correct"
    repropagate: bool = True
    within: tuple[Frame, Frame] | None = None

    def propagation(self, _session: OpenSession, _result: CommandResult) -> PropagateRequest | None:
        answer = _result.answer
        if not self.repropagate or answer is None or _session.frames == 1:
            return None
        within = self.within or _session.work.interval(answer.frame, answer.object_id)
        return PropagateRequest(
            objects=[answer.object_id], direction="both", start=answer.frame, within=within
        )


class ReplaceRequest(CommandRequest):
    """Put other prompts in the place of those of an object on a frame."""

    word = "replace"
    frame: Frame
    object_id: ObjectId
    prompts: PromptItems
    force: bool = False

    def run(self, session: OpenSession) -> CommandResult | None:
        prompts = parse_prompts(self.prompts, self.frame, self.object_id)
        command = Replace(self.frame, self.object_id, tuple(prompts))
        return session.execute(command, force=self.force)


class ChooseRequest(CommandRequest):
    """Take another of the masks that ambiguous prompts may mean."""

    word = "choose"
    frame: Frame
    object_id: ObjectId
    index: Annotated[int, Field(ge=0, le=20)]
    force: bool = False

    def run(self, session: OpenSession) -> CommandResult | None:
        command = Choose(self.frame, self.object_id, self.index)
        return session.execute(command, force=self.force)


class ClearRequest(CommandRequest):
    """Remove prompts and mask of an object on a frame."""

    word = "clear"
    frame: Frame
    object_id: ObjectId
    force: bool = False

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.execute(Clear(self.frame, self.object_id), force=self.force)


# --- painting and acceptance ---------------------------------------------------------------------


class Stroke(RequestBody):
    """A round brush, `width` pixels wide, drawn through points."""

    xy: Annotated[list[Pair], Field(min_length=1, max_length=5000)]
    width: Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False)] = 1.0


class Bits(RequestBody):
    """Pixels of a box."""

    bbox: tuple[Frame, Frame, Frame, Frame]
    data: str
    encoding: Literal["bits", "rle"] = "bits"


class PaintRequest(CommandRequest):
    """Add pixels to a mask with a brush, a lasso or a bitmap; with `erase`, remove them."""

    word = "paint"
    frame: Frame
    object_id: ObjectId
    erase: bool = False
    strokes: Annotated[list[Stroke], Field(max_length=200)] = Field(default_factory=list)
    polygon: Annotated[list[Pair], Field(max_length=20_000)] = Field(default_factory=list)
    bits: Bits | None = None
    force: bool = False

    def run(self, session: OpenSession) -> CommandResult | None:
        pixels = self.draw(session.size_hw)
        with session.exclusive():
            mask = session.mask(self.frame, self.object_id)
            mask = mask & ~pixels if self.erase else mask | pixels
            command = Add((MaskPrompt(mask, self.frame, self.object_id),))
            return session.execute(command, force=self.force)

    def draw(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The pixels that are painted.

        Raises:
            PromptError: there are none to paint, or the bits do not lie on the frame.
        """
        if not (self.strokes or self.polygon or self.bits):
            raise PromptError("nothing is painted: give strokes, a polygon or bits")
        strokes = [(stroke.xy, stroke.width) for stroke in self.strokes]
        canvas = draw_mask(size_hw, strokes, self.polygon)
        if self.bits is not None:
            _draw_bits(canvas, self.bits)
        return canvas


class AcceptRequest(CommandRequest):
    """Accept the masks of frames as they are displayed, or withdraw that.

    Objects that are named count as reviewed. Without names all masks are accepted; unreviewed ones
    among them are accepted in bulk and stay unreviewed.
    """

    word = "accept"
    frames: Annotated[list[Frame], Field(min_length=1, max_length=100_000)]
    object_ids: list[ObjectId] | None = None
    accepted: bool = True

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.accept(self.frames, self.object_ids, accepted=self.accepted)


class AcceptSuggestionsRequest(CommandRequest):
    """Accept all suggestions of at least a confidence in bulk, one command a frame.

    They teach nothing before somebody has reviewed them.
    """

    word = "accept_suggestions"
    above: Annotated[float, Field(ge=0, le=1)] = 0.0
    frames: Annotated[list[Frame], Field(max_length=100_000)] | None = None
    label: Short | None = None

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.accept_suggestions(self.above, self.frames, self.label)


class ObjectsRequest(CommandRequest):
    """A command on objects."""

    object_ids: Annotated[list[ObjectId], Field(min_length=1, max_length=10_000)]


class RejectRequest(ObjectsRequest):
    """Remove objects whose masks are wrong; they become examples of what their labels are not."""

    word = "reject"

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.execute(Reject(tuple(self.object_ids)))


class ReviewRequest(ObjectsRequest):
    """State that a person has looked at objects accepted in bulk; they teach from now on."""

    word = "review"

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.execute(Review(tuple(self.object_ids)))


# --- history -------------------------------------------------------------------------------------


class UndoRequest(CommandRequest):
    """Undo the latest command; without one nothing happens. `frame` is the one in view."""

    word = "undo"
    frame: Frame | None = None

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.undo(self.frame)


class RedoRequest(CommandRequest):
    """Redo what was undone last; without it nothing happens. `frame` is the one in view."""

    word = "redo"
    frame: Frame | None = None

    def run(self, session: OpenSession) -> CommandResult | None:
        return session.redo(self.frame)


_KINDS: tuple[type[CommandRequest], ...] = (
    PredictRequest,
    CorrectRequest,
    ReplaceRequest,
    ChooseRequest,
    ClearRequest,
    PaintRequest,
    AcceptRequest,
    AcceptSuggestionsRequest,
    RejectRequest,
    ReviewRequest,
    UndoRequest,
    RedoRequest,
)
COMMANDS: Mapping[str, type[CommandRequest]] = {kind.word: kind for kind in _KINDS}


# --- objects, flags and jobs, which have separate routes -----------------------------------------


class EverythingRequest(RequestOptions):
    """Segment a frame without prompts.

    Attributes:
        model: a model of this server; default that of the session. One that takes no prompts
            segments its classes.
        whole: all frames; for such a model only.
    """

    frame: Frame = 0
    model: Short | None = None
    whole: bool = False


class ObjectProperties(RequestOptions):
    """Label, colour, code and comment of an object."""

    label: Short | None = None
    colour: Colour | None = None
    code: CodedMeaning | None = None
    comment: Long | None = None

    def about(self) -> JsonObject:
        """The properties that the request sets, but for the label; null removes one."""
        names = {"colour", "code", "locked", "visible", "comment"}
        return self.model_dump(exclude_unset=True, include=names)


class NewObject(ObjectProperties):
    """A new object, with the lowest free number by default."""

    label: Short = ""
    object_id: ObjectId | None = None


class ObjectChange(ObjectProperties):
    """Properties to change; `locked`: finished, keeps its pixels where masks overlap."""

    locked: bool | None = None
    visible: bool | None = None


class FindAllRequest(RequestBody):
    """Find all objects like the examples of labels, on a frame or on all of them.

    Attributes:
        labels: default all with examples.
        whole: all frames.
    """

    frame: Frame = 0
    labels: Annotated[list[Short], Field(min_length=1, max_length=100)] | None = None
    whole: bool = False


class LearningRequest(RequestBody):
    """Whether the answers of a session learn from examples."""

    learns: bool


class FlagRequest(RequestBody):
    """Flag a frame for review, or remove the flag."""

    flagged: bool = True
    comment: Long = ""


class EmbedRequest(RequestBody):
    """Frames to encode before they are needed."""

    frames: Annotated[list[Frame], Field(min_length=1, max_length=2000)]


# --- reading prompts and pixels ------------------------------------------------------------------


def parse_prompts(items: Iterable[JsonObject], frame: int, object_id: int) -> list[Prompt]:
    """Prompts as prompt files have them; frame and object are those of the request by default.

    Raises:
        PromptError: one is malformed.
    """
    prompts = []
    for item in items:
        number = item.get("object", object_id)
        if isinstance(number, bool) or not isinstance(number, int):
            raise PromptError(f"'object' is a whole number, got {str(number)[:40]!r}")
        if "path" in item:
            raise PromptError("a mask prompt is sent as bits; paths are for prompt files on disk")
        prompts.append(prompt_from_json({"frame": frame, **item}, number))
    return prompts


def _draw_bits(canvas: NDArray[np.bool_], bits: Bits) -> None:
    rows, columns = canvas.shape
    x0, y0, x1, y1 = bits.bbox
    if not (x0 < x1 <= columns and y0 < y1 <= rows):
        raise PromptError(
            f"the box of the bits {bits.bbox} does not lie on the frame of {canvas.shape} pixels"
        )
    canvas[y0:y1, x0:x1] |= decode_text(bits.data, (y1 - y0, x1 - x0), bits.encoding)
