"""Prompts of a command line in the order in which they stand there.

Option parsers collect the values of each option apart; here the order across options has a meaning,
because prompts after `--object` belong to that object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.core

from segscope.errors import PromptError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segscope.prompts import Prompt

    ReadMask = Callable[
        [Path, int | None], tuple[NDArray[np.bool_], int]
    ]  # frame asked for, if any; frame meant

KEY = "segscope.prompt_options"
PROMPT_OPTIONS = ("--object", "--box", "--point", "--negative", "--mask")


class Ordered(typer.core.TyperCommand):
    """A command that keeps its prompt options in order, in `context.meta[KEY]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        valued = {
            name
            for option in self.params
            if not getattr(option, "is_flag", False)
            for name in option.opts
        }
        ctx.meta[KEY] = list(_in_order(args, valued))
        return super().parse_args(ctx, args)


def _in_order(arguments: Sequence[str], valued: set[str]) -> Iterator[tuple[str, str]]:
    """(option, value) of the prompt options; values of other options are stepped over."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return
        name, equals, value = argument.partition("=")
        if name in valued:
            if equals and name.startswith("--"):
                given = value
            else:
                given = next(rest, "")
            if name in PROMPT_OPTIONS:
                yield name, given


@dataclass(slots=True)
class Request:
    """What is asked for: prompts in order and the names of their objects."""

    prompts: list[Prompt] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def call(self, object_id: int, name: str) -> None:
        """Name an object; the same name again is fine, another one is not."""
        known = self.names.get(object_id, "")
        if known and name and known != name:
            raise UsageError(
                f"object {object_id} is called both {known!r} and {name!r}; give each object one name"
            )
        self.names[object_id] = name or known


def gather(
    options: Sequence[tuple[str, str]],
    request: Request,
    default_frame: int | None,
    read_mask: ReadMask,
) -> None:
    """Add the prompts of a command line to a request.

    Args:
        options: (option, value) in order.
        request: what a prompt file gave, or empty.
        default_frame: frame of prompts without @FRAME; None when it has to be said.
        read_mask: opens the files of `--mask`.

    Raises:
        PromptError: a prompt that cannot be meant.
        UsageError: an object that cannot be meant.
    """
    from segscope.prompts import MaskPrompt

    current = 1
    for option, value in options:
        if option == "--object":
            current = _object(value, request)
            continue
        text, frame = _split_frame(value)
        if option == "--mask":
            mask, at = read_mask(Path(text).expanduser(), frame)
            request.prompts.append(MaskPrompt(mask, at, current))
        else:
            at = _frame(frame, default_frame, f"{option} {value}")
            request.prompts.append(_drawn(option, text, at, current))
        request.names.setdefault(current, "")


def _object(value: str, request: Request) -> int:
    """The id that `[ID=]NAME` means: the one given, that of a name already used, or the next free
    one.
    """
    number, equals, name = value.partition("=")
    if not equals:
        number, name = (value, "") if value.strip().isdecimal() else ("", value)
    name = name.strip()
    if number:
        if not number.strip().isdecimal() or not 1 <= int(number) <= 65535:
            raise UsageError(
                f"--object is NAME or ID=NAME with an id from 1 to 65535, got {value!r}"
            )
        object_id = int(number)
    elif not name:
        raise UsageError("--object needs a name, for instance --object liver or --object 2=spleen")
    else:
        known = [key for key, other in request.names.items() if other == name]
        if known:
            object_id = known[0]
        else:
            object_id = max(request.names, default=0) + 1
    request.call(object_id, name)
    return object_id


def _split_frame(value: str) -> tuple[str, int | None]:
    text, at, frame = value.rpartition("@")
    if not at:
        return value, None
    if not frame.strip().isdecimal():
        raise PromptError(f"after @ stands the number of a frame, from 0; got {value!r}")
    return text, int(frame)


def _frame(given: int | None, default: int | None, what: str) -> int:
    if given is not None:
        return given
    if default is None:
        raise PromptError(
            f"say which slice is meant: {what}@SLICE, counted from 0 (a image and a video need no @)"
        )
    return default


def _numbers(text: str, count: int, option: str, form: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise PromptError(
            f"{option} is {form} in pixels, for instance {option} {'30,40,90,110'[: 6 * count - 1]}; got {text!r}"
        )
    return values


def _drawn(option: str, text: str, frame: int, object_id: int) -> Prompt:
    from segscope.prompts import Box, Point

    if option == "--box":
        x0, y0, x1, y1 = _numbers(text, 4, option, "X0,Y0,X1,Y1[@FRAME]")
        return Box((x0, y0, x1, y1), frame, object_id)
    x, y = _numbers(text, 2, option, "X,Y[@FRAME]")
    return Point(x, y, frame, object_id, positive=option == "--point")


def merge(request: Request, prompts: Sequence[Prompt], names: Mapping[int, str]) -> None:
    """Add what a prompt file says."""
    request.prompts.extend(prompts)
    for object_id, name in names.items():
        request.call(object_id, name)
