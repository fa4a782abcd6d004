"""Published checkpoints of methods: recognised by the names of their tensors, written as
adaptations of a base.

`READERS` is the table; a method that reads its published files adds a row. No code in a file is
executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from segscope.adapt import safe_unpickle, saved
from segscope.adapt.method import Method
from segscope.adapt.methods.knowsam import convert as knowsam_convert
from segscope.adapt.methods.med_sa import convert as med_sa_convert
from segscope.adapt.methods.sam2_unet import convert as sam2_unet_convert
from segscope.adapt.methods.sam_med2d import convert as sam_med2d_convert
from segscope.adapt.networks.no_base import MissingBase
from segscope.errors import CheckpointError
from segscope.models.engine import Engine
from segscope.models.weight_files import file_hash

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Reader:
    """How published files of one method are read.

    Attributes:
        recognise: whether tensors are those of such a file.
        read: from tensors, base and class names to method, classes and tensors of an adaptation.
        base: card of the base that published files were trained on.
        takes_side: whether `read` takes the side of the input, which some files do not tell.
    """

    recognise: Callable[[State], bool]
    read: Callable[..., tuple[Method, tuple[str, ...], dict[str, Tensor]]]
    base: str
    takes_side: bool = False


READERS: dict[str, Reader] = {
    "med-sa": Reader(med_sa_convert.recognise, med_sa_convert.read, "sam-vit-b", takes_side=True),
    "sam-med2d": Reader(sam_med2d_convert.recognise, sam_med2d_convert.read, "sam-vit-b"),
    "sam2-unet": Reader(sam2_unet_convert.recognise, sam2_unet_convert.read, "sam2-large"),
    "knowsam": Reader(knowsam_convert.recognise, knowsam_convert.read, "mini"),
}


def recognise(state: State) -> str | None:
    """Name of the method whose published files have such tensors; None if there is none."""
    for name, reader in READERS.items():
        if reader.recognise(state):
            return name
    return None


def look(path: Path) -> tuple[State, str | None]:
    """Tensors of a file, and the method that published it; None for an unknown one."""
    state, _ = safe_unpickle.read(path)
    return state, recognise(state)


def convert(
    path: Path,
    engine: Engine,
    source: str,
    out: Path,
    classes: Sequence[str] = (),
    side: int = 0,
) -> saved.AdaptationRecord:
    """Write a published checkpoint as an adaptation.

    Args:
        path: of the published file.
        engine: its base, freshly loaded in float32; changed in place.
        source: where to load the base from later: the name of a card, or a path.
        out: folder for the adaptation.
        classes: meaning of the outputs of a method without prompts.
        side: of the input in pixels; 0 where it follows from the file.

    Raises:
        CheckpointError: not a known published file, another base or side, or tensors that do not
            fit.
    """
    state, name = look(path)
    if name is None:
        raise CheckpointError(
            f"{path.name!r} is not a published checkpoint of {', '.join(READERS)}"
        )
    reader = READERS[name]
    if reader.takes_side:
        method, names, tensors = reader.read(state, engine, classes, side=side)
    else:
        method, names, tensors = reader.read(state, engine, classes)
    training = {"published": path.name, "sha256": file_hash(path)}
    record = saved.AdaptationRecord(method, saved.base_of(engine, source), names, training=training)
    base = engine
    if method.standalone:
        base = cast(Engine, MissingBase(record.base, engine.device))
    result = saved.load_tensors(record, base, tensors, path)  # refuses tensors that do not fit
    if side and side != result.input_size:
        raise CheckpointError(
            f"{path.name!r} is for an input of {result.input_size} pixels, which follows from "
            f"the file; got an input size of {side}. Omit --input-size"
        )
    out.mkdir(parents=True, exist_ok=True)
    return saved.write(out, record, tensors)
