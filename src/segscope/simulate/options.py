"""Options of simulators, as users write them: name=value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segscope.errors import UnknownName, UsageError

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Option:
    """A number within limits, or one of some words."""

    about: str
    low: float = 0
    high: float = 0
    whole: bool = False
    words: tuple[str, ...] = ()

    def expected(self) -> str:
        """The values that the option takes, for messages."""
        if self.words:
            return "one of " + ", ".join(self.words)
        kind = "number"
        if self.whole:
            kind = "whole number"
        return f"a {kind} from {self.low:g} to {self.high:g}"

    def check(self, name: str, value: Value) -> Value:
        """The value, with text converted to a number where the option is one.

        Raises:
            UsageError: the option does not take it.
        """
        if self.words:
            valid: Value | None = None
            if value in self.words:
                valid = value
        else:
            valid = self._to_number(value)
        if valid is None:
            raise UsageError(
                f"the option {name!r} ({self.about}) takes {self.expected()}, got {value!r}"
            )
        return valid

    def _to_number(self, value: Value) -> int | float | None:
        """The number, or None if it is none or outside the limits."""
        try:
            number = float(value)
        except ValueError:
            return None
        if not self.low <= number <= self.high:
            return None
        if not self.whole:
            return number
        if number != int(number):
            return None
        return int(number)


OPTIONS = {
    "k": Option("points", 1, 1000, whole=True),
    "negatives": Option("points outside", 0, 1000, whole=True),
    "most": Option("clicks a round, 1 to this many", 1, 1000, whole=True),
    "kind": Option("published rule for loosening a box", words=("a", "b", "c", "d", "e")),
    "pixels": Option("how far an edge may move", 0, 1000),
    "share": Option("how far an edge may move, relative to the box's short side", 0, 1),
    "iterations": Option("pixels to erode or dilate", 1, 100, whole=True),
    "way": Option("direction", words=("erode", "dilate", "either")),
    "wobble": Option("how far the hand wavers, relative to the object's size", 0, 1),
    "jitter": Option("error of coordinates, relative to the object's size", 0, 1),
    "jitter_px": Option("error of coordinates in pixels", 0, 1000),
    "wrong": Option("probability of a click on the wrong side", 0, 1),
    "late": Option("delay of a correction, in frames", 0, 1000, whole=True),
}


def check_options(
    owner: str, items: Iterable[tuple[str, Value]], known: Iterable[str]
) -> dict[str, Value]:
    """Options by name, checked and sorted by name.

    Raises:
        UsageError: an option that `owner` does not have, a repeated option, or an invalid value.
    """
    names = list(known)
    values: dict[str, Value] = {}
    for name, value in items:
        if not names:
            raise UsageError(f"{owner!r} has no options, got {name!r}; leave it out")
        if name not in names:
            raise UnknownName(f"option of {owner!r}", name, names)
        if name in values:
            raise UsageError(f"the option {name!r} of {owner!r} is given twice; give it once")
        values[name] = OPTIONS[name].check(name, value)
    return dict(sorted(values.items()))
