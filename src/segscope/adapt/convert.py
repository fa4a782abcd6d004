"""Published checkpoints of methods: recognised by the names of their tensors, written as
adaptations of a base.

`READERS` is the table; a method that reads its published files adds a row. Nothing in a file is
run.
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
        read: tensors, base and names of classes to method, classes and tensors of an adaptation.
        base: card that published files stand on.
    """

    recognise: Callable[[State], bool]
    read: Callable[
        [State, Engine, Sequence[str]], tuple[Method, tuple[str, ...], dict[str, Tensor]]
    ]
    base: str


READERS: dict[str, Reader] = {
    "med-sa": Reader(med_sa_convert.is_med_sa, med_sa_convert.read_med_sa, "sam-vit-b"),
    "sam-med2d": Reader(med_sa_convert.is_sam_med2d, med_sa_convert.read_sam_med2d, "sam-vit-b"),
    "sam2-unet": Reader(sam2_unet_convert.recognise, sam2_unet_convert.read, "sam2-large"),
    "knowsam": Reader(knowsam_convert.recognise, knowsam_convert.read, "mini"),
}


def recognise(state: State) -> str | None:
    """Name of the method whose published files have such tensors; None for none."""
    return next((name for name, reader in READERS.items() if reader.recognise(state)), None)


def look(path: Path) -> tuple[State, str | None]:
    """Tensors of a file, and the method that published it; None for none that is known."""
    state = safe_unpickle.read(path)[0]
    return state, recognise(state)


def convert(
    path: Path, engine: Engine, source: str, out: Path, classes: Sequence[str] = ()
) -> saved.Record:
    """Write a published checkpoint as an adaptation.

    Args:
        path: of the published file.
        engine: its base, fresh and in float32; changed in place.
        source: how the base is found again: the name of a card, or a path.
        out: folder for the adaptation.
        classes: what the outputs of a method without prompts mean.

    Raises:
        CheckpointError: no published file that is known, another base, or tensors that do not fit.
    """
    state, name = look(path)
    if name is None:
        raise CheckpointError(f"{path.name!r} is no published checkpoint of {', '.join(READERS)}")
    method, names, tensors = READERS[name].read(state, engine, classes)
    training = {"published": path.name, "sha256": file_hash(path)}
    record = saved.Record(method, saved.base_of(engine, source), names, training=training)
    stands_on = engine
    if method.standalone:
        stands_on = cast(Engine, MissingBase(record.base, engine.device))
    saved.attached(record, stands_on, tensors, path)  # refuses what does not fit
    out.mkdir(parents=True, exist_ok=True)
    return saved.write(out, record, tensors)
