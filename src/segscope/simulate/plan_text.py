"""One step of a plan as text: a simulator, a number and options, as in "points:3,negatives=2"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segscope.errors import UsageError
from segscope.simulate import SHORT, simulator
from segscope.simulate.options import Value

MAX_ROUNDS = 1000
Options = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A name of the table of simulators, a number of rounds, and options."""

    name: str
    rounds: int | None
    options: Options


def parse_step(text: str) -> PlanStep:
    """The step of a text.

    A number is the simulator's own option of that kind, such as the number of points, or else the
    number of rounds.

    Raises:
        UsageError: no such simulator, or something else than a number and options.
    """
    head, colon, tail = text.partition(":")
    name = _long_name(head.strip())
    number_option = simulator(name).number
    rounds: int | None = None
    options: list[tuple[str, Value]] = []
    parts = []
    if colon:
        parts = tail.split(",")
    for place, part in enumerate(parts):
        key, equals, value = map(str.strip, part.partition("="))
        if equals:
            options.append((key, value))
        elif place > 0 or not _is_number(key):
            raise UsageError(
                f"{text!r}: ':' must be followed by a number from 1 to {MAX_ROUNDS} and options "
                f"name=value, got {part!r}"
            )
        elif number_option is None:
            rounds = int(key)
        else:
            options.append((number_option, int(key)))
    return PlanStep(name, rounds, tuple(options))


def format_step(name: str, options: Iterable[tuple[str, Value]], rounds: int | None = None) -> str:
    """The shortest text of a step."""
    number_option = simulator(name).number
    values = dict(options)
    number: Value | None = rounds
    if number_option is not None:
        number = values.pop(number_option, simulator(name).options[number_option])
    after = [f"{key}={value}" for key, value in values.items()]
    if number is not None:
        after.insert(0, str(int(number)))
    if not after:
        return _short_name(name)
    return f"{_short_name(name)}:{','.join(after)}"


def _is_number(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) <= MAX_ROUNDS


def _long_name(name: str) -> str:
    return SHORT.get(name, name.replace("clicks.", "click."))


def _short_name(name: str) -> str:
    # of several short names the first one is written
    names = {long: short for short, long in reversed(SHORT.items())}
    return names.get(name, name.replace("click.", "clicks."))
