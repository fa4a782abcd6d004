"""Which frames of a volume or video are prompted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UnknownName, UsageError

Masks = NDArray[np.bool_]  # (frame, row, column)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of RULES.

    Attributes:
        choose: (truth, found, value) to frames; the truth has the object on some frame.
        default: value that stands after the rule's name, or None for a rule without one.
        limits: least and greatest value.
        judges: whether it looks at the answer so far.
    """

    choose: Callable[[Masks, Masks, float], list[int]]
    about: str
    default: float | None = None
    limits: tuple[float, float] = (0, 0)
    judges: bool = False


def present(truth: Masks) -> NDArray[np.intp]:
    """The frames where the object is."""
    return np.flatnonzero(truth.any(axis=(1, 2)))


def ious(truth: Masks, found: Masks) -> NDArray[np.float64]:
    """IoU of each frame; 1 where both are empty."""
    both = (truth & found).sum(axis=(1, 2))
    either = (truth | found).sum(axis=(1, 2))
    return np.where(either, both / np.maximum(either, 1), 1.0)


def _uniform(truth: Masks, _found: Masks, count: float) -> list[int]:
    at = present(truth)
    count = min(int(count), len(at))
    return [int(at[i * (len(at) // count)]) for i in range(count)]


def _worst(truth: Masks, found: Masks, _value: float) -> list[int]:
    """Frames with the object come first; one without is chosen when all of those are right."""
    iou = ious(truth, found)
    wrong = (truth ^ found).sum(axis=(1, 2))
    absent = ~truth.any(axis=(1, 2)) | (wrong == 0)
    if wrong.any():
        return [int(np.lexsort((-wrong, iou, absent))[0])]
    return []


def _below(truth: Masks, found: Masks, limit: float) -> list[int]:
    at = present(truth)
    return [int(frame) for frame in at[ious(truth[at], found[at]) < limit][:1]]


RULES = {
    "first": Rule(lambda truth, *_: [int(present(truth)[0])], "first frame with the object"),
    "edge": Rule(
        lambda truth, *_: sorted({int(present(truth)[i]) for i in (0, -1)}),
        "both ends of its extent",
    ),
    "centre": Rule(
        lambda truth, *_: [int(present(truth)[len(present(truth)) // 2])],
        "middle frame with the object",
    ),
    "largest": Rule(
        lambda truth, *_: [int(truth.sum(axis=(1, 2)).argmax())], "frame with most of it"
    ),
    "uniform": Rule(_uniform, "k frames i * (T // k) of the T with the object", 3, (1, 10_000)),
    "worst": Rule(
        _worst, "frame of lowest IoU, the most wrong pixels among equals (offline)", judges=True
    ),
    "below": Rule(
        _below, "first frame of an IoU below the value (online)", 0.75, (0, 1), judges=True
    ),
}


@dataclass(frozen=True, slots=True)
class FrameRule:
    """A row of RULES with its value: `FrameRule("uniform", 5)`; text "uniform=5".

    Raises:
        UsageError: no such rule, or a value that it does not take.
    """

    name: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise UnknownName("frame rule", self.name, RULES)
        rule = RULES[self.name]
        if rule.default is None:
            if self.value is not None:
                raise UsageError(
                    f"the frame rule {self.name!r} takes no value, got {self.value!r}; leave it out"
                )
            return
        if self.value is None:
            value = rule.default
        else:
            value = self.value
        (low, high) = rule.limits
        whole = isinstance(rule.default, int)
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a number"
            if whole:
                kind = "a whole number"
            raise UsageError(
                f"the frame rule {self.name!r} takes {kind} from {low} to {high}, got {self.value!r}"
            )
        object.__setattr__(self, "value", int(value) if whole else float(value))

    @classmethod
    def parse(cls, text: str) -> FrameRule:
        """The rule of a text such as "largest" or "uniform=3"."""
        name, equals, value = text.partition("=")
        try:
            return cls(name.strip(), float(value) if equals else None)
        except ValueError:
            raise UsageError(f"a frame rule is written name or name=number, got {text!r}") from None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return f"{self.name}={self.value!r}"

    @property
    def judges(self) -> bool:
        """Whether the rule looks at the answer so far."""
        return RULES[self.name].judges

    def choose(self, truth: Masks, found: Masks | None = None) -> list[int]:
        """The frames to prompt, in order.

        All rules choose frames where the object is, but for "worst" when these are all right. A
        rule that judges answers chooses the first frame with the object while there is none.

        Args:
            truth: (frame, row, column).
            found: the answer so far, of the same shape.
        """
        if found is None and self.judges:
            return FrameRule("first").choose(truth)
        if not truth.any() and self.name != "worst":
            return []
        return RULES[self.name].choose(truth, truth if found is None else found, self.value or 0)
