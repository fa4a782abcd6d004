"""Options of simulators as users write them: name=value."""

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

    def wanted(self) -> str:
        if self.words:
            return "one of " + ", ".join(self.words)
        return f"a {'whole number' if self.whole else 'number'} from {self.low:g} to {self.high:g}"

    def check(self, name: str, value: Value) -> Value:
        """The value, a text read as what the option holds.

        Raises:
            UsageError: it is not what the option takes.
        """
        if self.words and value in self.words:
            return value
        try:
            number = float(value)
            if (
                not self.words
                and self.low <= number <= self.high
                and not (self.whole and number != int(number))
            ):
                if self.whole:
                    return int(number)
                return number
        except ValueError:
            pass
        raise UsageError(f"the option {name!r} ({self.about}) takes {self.wanted()}, got {value!r}")


OPTIONS = {
    "k": Option("points", 1, 1000, whole=True),
    "negatives": Option("points outside", 0, 1000, whole=True),
    "most": Option("clicks a round, 1 to this many", 1, 1000, whole=True),
    "kind": Option("published way to loosen a box", words=("a", "b", "c", "d", "e")),
    "pixels": Option("how far an edge may move", 0, 1000),
    "share": Option("how far an edge may move, in the box's short side", 0, 1),
    "iterations": Option("pixels to erode or dilate", 1, 100, whole=True),
    "way": Option("direction", words=("erode", "dilate", "either")),
    "wobble": Option("how far a hand wavers, in the object's size", 0, 1),
    "jitter": Option("error of coordinates, in the object's size", 0, 1),
    "jitter_px": Option("error of coordinates in pixels", 0, 1000),
    "wrong": Option("probability of a click on the wrong side", 0, 1),
    "late": Option("frames that a correction comes late", 0, 1000, whole=True),
}


def check_options(
    owner: str, items: Iterable[tuple[str, Value]], known: Iterable[str]
) -> dict[str, Value]:
    """Options by name, checked and in order of their names.

    Raises:
        UsageError: an option that `owner` does not have, one given twice, or a value that it does
            not take.
    """
    known = list(known)
    found: dict[str, Value] = {}
    for name, value in items:
        if not known:
            raise UsageError(f"{owner!r} has no options, got {name!r}; leave it out")
        if name not in known:
            raise UnknownName(f"option of {owner!r}", name, known)
        if name in found:
            raise UsageError(f"the option {name!r} of {owner!r} is given twice; give it once")
        found[name] = OPTIONS[name].check(name, value)
    return dict(sorted(found.items()))
