"""Options that several commands share, prompts among them, and options grouped in dataclasses.

A command with many options takes a dataclass whose fields are declared like the parameters of a
typer command, with `Annotated[type, typer.Option(...)]`; `expand_options` shows them to typer one
by one.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer
import typer.core

from segscope.errors import PromptError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segscope.models.engine import Engine
    from segscope.prompts import Prompt

    # a file and the frame after its @, if any, to the mask and its frame
    ReadMask = Callable[[Path, int | None], tuple[NDArray[np.bool_], int]]

KEY = "segscope.prompt_options"
PROMPT_OPTIONS = ("--object", "--box", "--point", "--negative", "--mask")
MAX_OBJECT_ID = 65535
FORMS = {
    "--box": ("X0,Y0,X1,Y1[@FRAME]", "30,40,90,110"),
    "--point": ("X,Y[@FRAME]", "30,40"),
    "--negative": ("X,Y[@FRAME]", "30,40"),
}
"""Prompts made of numbers: their form, and an example."""


class Device(StrEnum):
    """Where a network can run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


DeviceOption = Annotated[Device, typer.Option(help="Device to run the network on.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
ModelOption = Annotated[
    str,
    typer.Option(help="Model name (see `segscope models`), checkpoint file or adaptation folder."),
]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The network of a command and its device."""

    model: ModelOption = "mini"
    device: DeviceOption = Device.auto

    def load(self) -> Engine:
        """The network, ready to use.

        A network without prompts comes as an engine, too: `segscope everything` accepts it, and
        sessions refuse it with a message of their own.
        """
        from segscope.load import load

        return cast("Engine", load(self.model, device=self.device))


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Which part of the input is used, and how its intensities are mapped."""

    window: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET|W,L|pLOW,HIGH",
            help="Intensity window shown to the model. Default: chosen by modality.",
        ),
    ] = None
    series: Annotated[str | None, typer.Option(help="DICOM series to read from a folder.")] = None
    volume: Annotated[
        int | None, typer.Option(help="Time point to read from a 4D file, counted from 0.")
    ] = None
    channel: Annotated[
        int | None, typer.Option(help="Channel to read from a microscopy file, counted from 0.")
    ] = None
    resample_slices: Annotated[
        bool,
        typer.Option(
            "--resample-slices",
            help="Interpolate even slices where those of a DICOM series are uneven.",
        ),
    ] = False


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command in which each parameter that is a dataclass of options became its options."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            parameters.extend(_parameters_of(group))
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{item.name: values.pop(item.name) for item in fields(group)})
        command(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {item.name: item.annotation for item in parameters}
    return call


def _parameters_of(group: type) -> Iterator[inspect.Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    for item in fields(group):
        yield inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default_of(item),
            annotation=annotations[item.name],
        )


def _default_of(item: Field[Any]) -> object:
    if item.default_factory is not MISSING:
        return item.default_factory()
    if item.default is MISSING:
        return inspect.Parameter.empty
    return item.default


def split_list(text: str | None) -> tuple[str, ...]:
    """The parts of A,B,C without the white space around them; empty ones are dropped."""
    parts = (part.strip() for part in (text or "").split(","))
    return tuple(part for part in parts if part)


class OrderedCommand(typer.core.TyperCommand):
    """A command that stores its prompt options in order, in `context.meta[KEY]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        names_with_value = set()
        for option in self.params:
            if not getattr(option, "is_flag", False):
                names_with_value.update(option.opts)
        ctx.meta[KEY] = list(iterate_prompt_options(args, names_with_value))
        return super().parse_args(ctx, args)


def iterate_prompt_options(
    arguments: Sequence[str], names_with_value: set[str]
) -> Iterator[tuple[str, str]]:
    """The prompt options of a command line as (option, value), skipping all other options.

    Args:
        arguments: the command line.
        names_with_value: options that take a value, which is never an option itself.
    """
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return
        name, equals, value = argument.partition("=")
        if name not in names_with_value:
            continue
        if not (equals and name.startswith("--")):
            value = next(rest, "")
        if name in PROMPT_OPTIONS:
            yield name, value


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How prompts are declared to the parser; `OrderedCommand` reads all but the file."""

    box: Annotated[
        list[str], typer.Option(metavar=FORMS["--box"][0], help="Box around the object.")
    ] = field(default_factory=list)
    point: Annotated[
        list[str], typer.Option(metavar=FORMS["--point"][0], help="Positive click, on the object.")
    ] = field(default_factory=list)
    negative: Annotated[
        list[str],
        typer.Option(metavar=FORMS["--negative"][0], help="Negative click, off the object."),
    ] = field(default_factory=list)
    mask: Annotated[
        list[str], typer.Option(metavar="FILE[@FRAME]", help="Mask of the object on one frame.")
    ] = field(default_factory=list)
    object_: Annotated[
        list[str],
        typer.Option(
            "--object",
            metavar="[ID=]NAME",
            help="Object that the prompts after it belong to. Without it, prompts belong to object "
            "1.",
        ),
    ] = field(default_factory=list)
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Prompt file; see the how-to guide.")
    ] = None


@dataclass(slots=True)
class PromptSet:
    """Prompts in order, the names of their objects by id, and the files of mask prompts."""

    prompts: list[Prompt] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    mask_files: list[Path] = field(default_factory=list)

    def name_object(self, object_id: int, name: str) -> None:
        """Name an object.

        Raises:
            UsageError: it already has another name.
        """
        known = self.names.get(object_id, "")
        if known and name and known != name:
            raise UsageError(
                f"object {object_id} is named both {known!r} and {name!r}; use one name per object"
            )
        self.names[object_id] = name or known

    def extend(self, prompts: Sequence[Prompt], names: Mapping[int, str]) -> None:
        """Add the content of a prompt file."""
        self.prompts.extend(prompts)
        for object_id, name in names.items():
            self.name_object(object_id, name)

    def add_options(
        self,
        options: Sequence[tuple[str, str]],
        default_frame: int | None,
        read_mask: ReadMask,
    ) -> None:
        """Add the prompts of a command line.

        Args:
            options: (option, value) in order.
            default_frame: frame of prompts without @FRAME; None if @FRAME is required.
            read_mask: opens the files of `--mask`.

        Raises:
            PromptError: an invalid prompt.
            UsageError: an invalid object.
        """
        from segscope.prompts import MaskPrompt

        object_id = 1
        for option, value in options:
            if option == "--object":
                object_id = self._resolve_object(value)
                continue
            text, frame = _split_frame(value)
            if option == "--mask":
                path = Path(text).expanduser()
                self.mask_files.append(path)
                mask, at = read_mask(path, frame)
                self.prompts.append(MaskPrompt(mask, at, object_id))
            else:
                if frame is None:
                    frame = default_frame
                if frame is None:
                    raise PromptError(
                        f"the prompt needs a slice: {option} {value}@SLICE, counted from 0 "
                        "(images and videos need no @)"
                    )
                self.prompts.append(_parse_prompt(option, text, frame, object_id))
            self.names.setdefault(object_id, "")

    def _resolve_object(self, value: str) -> int:
        """The id of `[ID=]NAME`: the explicit one, that of a known name, or the next free one."""
        number, equals, name = value.partition("=")
        if not equals:
            name = value
            number = ""
            if value.strip().isdecimal():
                number = value
                name = ""
        name = name.strip()
        if number:
            object_id = _parse_object_id(number, value)
        elif not name:
            raise UsageError(
                "--object needs a name, for example --object liver or --object 2=spleen"
            )
        else:
            object_id = self._id_of(name)
        self.name_object(object_id, name)
        return object_id

    def _id_of(self, name: str) -> int:
        for object_id, known in self.names.items():
            if known == name:
                return object_id
        return max(self.names, default=0) + 1


def _parse_object_id(number: str, value: str) -> int:
    if number.strip().isdecimal() and 1 <= int(number) <= MAX_OBJECT_ID:
        return int(number)
    raise UsageError(
        f"--object takes NAME or ID=NAME, with an ID from 1 to {MAX_OBJECT_ID}; got {value!r}"
    )


def _split_frame(value: str) -> tuple[str, int | None]:
    text, at, frame = value.rpartition("@")
    if not at:
        return value, None
    if not frame.strip().isdecimal():
        raise PromptError(f"@ must be followed by a frame number, counted from 0; got {value!r}")
    return text, int(frame)


def _parse_prompt(option: str, text: str, frame: int, object_id: int) -> Prompt:
    """A box or a click from its numbers, which are in pixels."""
    from segscope.prompts import Box, Point

    form, example = FORMS[option]
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = ()
    if len(values) != example.count(",") + 1 or not all(map(math.isfinite, values)):
        raise PromptError(
            f"{option} takes {form} in pixels, for example {option} {example}; got {text!r}"
        )
    if option == "--box":
        x0, y0, x1, y1 = values
        return Box((x0, y0, x1, y1), frame, object_id)
    x, y = values
    return Point(x, y, frame, object_id, positive=option == "--point")
