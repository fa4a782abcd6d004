"""What clients ask of a propagation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segscope.predict.propagation import Direction, PropagationRange, default_direction
from segscope.predict.stop_rules import StopRules, default_rules
from segscope.stack import Stack

FrameNumber = Annotated[int, Field(ge=0, le=2**31)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class StopRulesRequest(BaseModel):
    """When to stop tracking an object, see `segscope.predict.StopRules`."""

    model_config = ConfigDict(extra="forbid")

    absent_frames: Annotated[int, Field(ge=1)] = 2
    absent_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0
    vanish: Share = 0.02
    doubt: Share = 0.65


class PropagateRequest(BaseModel):
    """Track objects from frame to frame.

    Attributes:
        objects: ids; default all that are prompted and not locked.
        direction: default both ways through a volume and forward through a video.
        rules: "auto" has rules for volumes and none for videos; null never stops an object.
    """

    model_config = ConfigDict(extra="forbid")

    objects: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(min_length=1)] | None = (
        None
    )
    direction: Direction | None = None
    start: FrameNumber | None = None
    within: tuple[FrameNumber, FrameNumber] | None = None
    rules: Literal["auto"] | StopRulesRequest | None = "auto"

    def resolve(self, stack: Stack) -> PropagationRange:
        """The range of frames, with defaults for this kind of stack."""
        direction = self.direction or default_direction(stack)
        return PropagationRange(direction, self.start, self.within, self._rules(stack))

    def frame_count(self, stack: Stack) -> int:
        """How many frames there are to do at most."""
        if self.within is None:
            return len(stack)
        return self.within[1] - self.within[0] + 1

    def _rules(self, stack: Stack) -> StopRules | None:
        if self.rules == "auto":
            return default_rules(stack)
        if self.rules is None:
            return None
        return StopRules(**self.rules.model_dump())
