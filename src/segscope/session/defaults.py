"""Default direction and stop rules of tracking, for every interface."""

from __future__ import annotations

from segscope.predict.propagation import Direction
from segscope.predict.stop_rules import StopRules
from segscope.stack import Stack


def default_direction(stack: Stack) -> Direction:
    """Both ways through a volume, forward through a video."""
    if stack.kind == "volume":
        return "both"
    return "forward"


def default_rules(stack: Stack) -> StopRules | None:
    """Organs end within a volume; objects of a video may come back."""
    if stack.kind == "volume":
        return StopRules()
    return None
