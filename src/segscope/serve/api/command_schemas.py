"""What may be asked of a session: the bodies of its commands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from segscope.serve.api.schemas import (
    Code,
    Colour,
    Corners,
    Encoded,
    Frame,
    Long,
    Number,
    ObjectId,
    Pair,
    Request,
    Short,
)


class Command(Request):
    """What every command may carry.

    Attributes:
        seq: number that the answer repeats, so that late answers can be told.
        encoding: of the masks in the answer.
    """

    seq: int | None = None
    encoding: Encoded = "bits"


class Predict(Command):
    """Prompts for one object on one frame; `prompts` may speak of others."""

    frame: Frame = 0
    object_id: ObjectId = 1
    points: Annotated[list[tuple[Number, Number, Literal[0, 1]]], Field(max_length=1000)] = Field(
        default_factory=list
    )
    boxes: Annotated[list[Corners], Field(max_length=100)] = Field(default_factory=list)
    prompts: Annotated[list[dict[str, Any]], Field(max_length=1000)] = Field(default_factory=list)
    multimask: bool = False
    force: bool = False
    instead: bool = False


class Correct(Predict):
    """`predict`, and the frames up to the neighbouring prompted or accepted ones done again."""

    repropagate: bool = True
    within: tuple[Frame, Frame] | None = None


class Replace(Command):
    frame: Frame
    object_id: ObjectId
    prompts: Annotated[list[dict[str, Any]], Field(max_length=1000)]
    force: bool = False


class Choose(Command):
    frame: Frame
    object_id: ObjectId
    index: Annotated[int, Field(ge=0, le=20)]
    force: bool = False


class Clear(Command):
    frame: Frame
    object_id: ObjectId
    force: bool = False


class Stroke(Request):
    """A round brush, `width` pixels wide, drawn through points."""

    xy: Annotated[list[Pair], Field(min_length=1, max_length=5000)]
    width: Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False)] = 1.0


class Bits(Request):
    """Pixels of a box."""

    bbox: tuple[Frame, Frame, Frame, Frame]
    data: str
    encoding: Literal["bits", "rle"] = "bits"


class Paint(Command):
    """Pixels to add to a mask or, with `erase`, to take away."""

    frame: Frame
    object_id: ObjectId
    erase: bool = False
    strokes: Annotated[list[Stroke], Field(max_length=200)] = Field(default_factory=list)
    polygon: Annotated[list[Pair], Field(max_length=20_000)] = Field(default_factory=list)
    bits: Bits | None = None
    force: bool = False


class Accept(Command):
    frames: Annotated[list[Frame], Field(min_length=1, max_length=100_000)]
    object_ids: list[ObjectId] | None = None
    accepted: bool = True


class Step(Command):
    """Undo or redo; `frame` is the one that is looked at."""

    frame: Frame | None = None


class Here(Command):
    frame: Frame = 0


class Everything(Here):
    """Find objects without prompts.

    Attributes:
        model: a model of this server; default that of the session. One that takes no prompts finds
            its classes.
        whole: look at all frames; for such a model only.
    """

    model: Short | None = None
    whole: bool = False


class ObjectNew(Command):
    object_id: ObjectId | None = None
    label: Short = ""
    colour: Colour | None = None
    code: Code | None = None
    comment: Long | None = None


class ObjectChange(Command):
    label: Short | None = None
    colour: Colour | None = None
    code: Code | None = None
    locked: bool | None = None
    visible: bool | None = None
    comment: Long | None = None


class Flag(Request):
    flagged: bool = True
    comment: Long = ""


class Embed(Request):
    frames: Annotated[list[Frame], Field(min_length=1, max_length=2000)]


class Rules(Request):
    """When to stop an object, see `segscope.predict.StopRules`."""

    absent_frames: Annotated[int, Field(ge=1)] = 2
    absent_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0
    vanish: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.02
    doubt: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.65


class Propagate(Request):
    objects: Annotated[list[ObjectId], Field(min_length=1)] | None = None
    direction: Literal["both", "forward", "backward"] | None = None
    start: Frame | None = None
    within: tuple[Frame, Frame] | None = None
    rules: Literal["auto"] | Rules | None = "auto"
