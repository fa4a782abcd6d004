"""Model cards: every network that segscope can load, with what one must know before using it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segscope.errors import UnknownName

Family = Literal["sam", "sam2", "edgetam", "sam3", "mini"]


@dataclass(frozen=True, slots=True)
class Card:
    """One network.

    Attributes:
        name: what users type.
        family: which engine runs it.
        size: "tiny", "base+", "vit-b" ... within the family.
        input_size: side of the square input, in pixels.
        licence: of the weights.
        paper: arXiv id or DOI.
        hub: hub id of weights in the family's transformers layout, or None.
        revision: git revision of the hub repository that is loaded.
        file: name of the official checkpoint file in `hub`, for repositories that hold no safetensors.
        prompts: kinds of prompts it understands.
        memory: whether it tracks by memory.
        trained_on: data sets, for warnings about leakage.
        zoom: whether it answers best in a window around the prompt.
        note: one sentence for `segscope models show`.
    """

    name: str
    family: Family
    size: str
    input_size: int
    licence: str
    paper: str
    hub: str | None = None
    revision: str = "main"
    file: str | None = None
    prompts: tuple[str, ...] = ("point", "box", "mask", "scribble")
    memory: bool = True
    trained_on: tuple[str, ...] = ()
    zoom: bool = False
    note: str = ""


CARDS: tuple[Card, ...] = ()


def card(name: str) -> Card:
    """The card of a name.

    Raises:
        UnknownName: no such card; the message lists near names.
    """
    for entry in CARDS:
        if entry.name == name:
            return entry
    raise UnknownName("model", name, [entry.name for entry in CARDS], f"`segscope models` lists all {len(CARDS)}.")
