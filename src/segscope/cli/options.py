"""Options that several commands share, and options grouped in dataclasses.

A command with many options takes a dataclass whose fields are declared like the parameters of a
typer command, with `Annotated[type, typer.Option(...)]`; `expand_options` shows them to typer one
by one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer

if TYPE_CHECKING:
    from segscope.models.engine import Engine


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
