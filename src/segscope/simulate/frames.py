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
        choose: (truth, predicted, value) to frames; the truth has the object on some frame.
        about: what it chooses.
        default: value if none is given, or None for a rule without a value.
        limits: minimum and maximum of the value.
        judges: whether it depends on the current prediction.
    """

    choose: Callable[[Masks, Masks, float], list[int]]
    about: str
    default: float | None = None
    limits: tuple[float, float] = (0, 0)
    judges: bool = False


def present(truth: Masks) -> NDArray[np.intp]:
    """The frames with the object."""
    return np.flatnonzero(truth.any(axis=(1, 2)))


def ious(truth: Masks, predicted: Masks) -> NDArray[np.float64]:
    """IoU of each frame; 1 where both are empty."""
    both = (truth & predicted).sum(axis=(1, 2))
    either = (truth | predicted).sum(axis=(1, 2))
    return np.where(either, both / np.maximum(either, 1), 1.0)


def _first(truth: Masks, _predicted: Masks, _value: float) -> list[int]:
    return [int(present(truth)[0])]


def _edge(truth: Masks, _predicted: Masks, _value: float) -> list[int]:
    frames = present(truth)
    return sorted({int(frames[0]), int(frames[-1])})


def _centre(truth: Masks, _predicted: Masks, _value: float) -> list[int]:
    frames = present(truth)
    return [int(frames[len(frames) // 2])]


def _largest(truth: Masks, _predicted: Masks, _value: float) -> list[int]:
    return [int(truth.sum(axis=(1, 2)).argmax())]


def _uniform(truth: Masks, _predicted: Masks, count: float) -> list[int]:
    frames = present(truth)
    count = min(int(count), len(frames))
    step = len(frames) // count
    return frames[: count * step : step].tolist()


def _worst(truth: Masks, predicted: Masks, _value: float) -> list[int]:
    """Frames with the object come first; one without it is chosen if all of those are right."""
    iou = ious(truth, predicted)
    wrong = (truth ^ predicted).sum(axis=(1, 2))
    absent = ~truth.any(axis=(1, 2)) | (wrong == 0)
    if wrong.any():
        return [int(np.lexsort((-wrong, iou, absent))[0])]
    return []


def _below(truth: Masks, predicted: Masks, limit: float) -> list[int]:
    frames = present(truth)
    low = ious(truth[frames], predicted[frames]) < limit
    return frames[low][:1].tolist()


RULES = {
    "first": Rule(_first, "first frame with the object"),
    "edge": Rule(_edge, "both ends of its extent"),
    "centre": Rule(_centre, "middle frame with the object"),
    "largest": Rule(_largest, "frame with most of it"),
    "uniform": Rule(_uniform, "k frames i * (T // k) of the T with the object", 3, (1, 10_000)),
    "worst": Rule(
        _worst, "frame of lowest IoU, the most wrong pixels among equals (offline)", judges=True
    ),
    "below": Rule(
        _below, "first frame with an IoU below the value (online)", 0.75, (0, 1), judges=True
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
        default = RULES[self.name].default
        if default is not None:
            object.__setattr__(self, "value", self._check_value(default))
        elif self.value is not None:
            raise UsageError(
                f"the frame rule {self.name!r} takes no value, got {self.value!r}; leave it out"
            )

    def _check_value(self, default: float) -> float:
        value = self.value
        if value is None:
            value = default
        low, high = RULES[self.name].limits
        whole = isinstance(default, int)
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a number"
            if whole:
                kind = "a whole number"
            raise UsageError(
                f"the frame rule {self.name!r} takes {kind} from {low} to {high}, got "
                f"{self.value!r}"
            )
        if whole:
            return int(value)
        return float(value)

    @classmethod
    def parse(cls, text: str) -> FrameRule:
        """The rule of a text such as "largest" or "uniform=3"."""
        name, equals, value = text.partition("=")
        if not equals:
            return cls(name.strip())
        try:
            number = float(value)
        except ValueError:
            raise UsageError(f"a frame rule is written name or name=number, got {text!r}") from None
        return cls(name.strip(), number)

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return f"{self.name}={self.value!r}"

    @property
    def judges(self) -> bool:
        """Whether the rule depends on the current prediction."""
        return RULES[self.name].judges

    def choose(self, truth: Masks, predicted: Masks | None = None) -> list[int]:
        """The frames to prompt, in order.

        All rules choose frames with the object, except "worst" if all of those are right. A rule
        that depends on the prediction chooses the first frame with the object if there is none.

        Args:
            truth: (frame, row, column).
            predicted: the current masks, of the same shape.
        """
        if not truth.any() and self.name != "worst":
            return []
        if predicted is not None:
            return RULES[self.name].choose(truth, predicted, self.value or 0)
        if self.judges:
            return FrameRule("first").choose(truth)
        return RULES[self.name].choose(truth, truth, self.value or 0)
