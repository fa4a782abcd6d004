"""Folder: a saved adaptation. Trained tensors, what they fit on, what they were made from, and how
good they were.

adaptation.json       method, settings, base and its hash, classes, data card, training, figures,
versions weights.safetensors   the trained tensors only, by their path in the network
curve.csv, curve.png  how the training went
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from segscope._version import __version__
from segscope.adapt import METHODS
from segscope.adapt.method import Adapted, Method
from segscope.adapt.networks.no_base import MissingBase
from segscope.adapt.networks.parameter_groups import network
from segscope.errors import CheckpointError, SegscopeError, UsageError
from segscope.files import atomic
from segscope.models.checkpoint import Checkpoint
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.models.weight_files import read_tensors, tensor_hash, write_safetensors

RECORD = "adaptation.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1

LoadBase = Callable[[str, int, bool], Engine]
"""Gives the engine of a base: its name or path, the side of its input, and whether it has to
compute in float32.
"""


@dataclass(frozen=True)
class Record:
    """What adaptation.json says.

    Attributes:
        method: settings and all.
        base: name, source (a card's name or a path), family, size, version, input_size,
            weights_hash.
        classes: names, in order.
        data: see `segscope.adapt.data.training_set`.
        training: settings of the run and how it ended.
        figures: "before", "after" and whatever else was measured.
        weights_hash: of the trained tensors.
        versions: of what computed it.
    """

    method: Method
    base: dict[str, Any]
    classes: tuple[str, ...]
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    weights_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As adaptation.json holds it."""
        method = {"name": self.method.name, "settings": self.method.as_dict()}
        return {
            "segscope_adaptation": FORMAT,
            **vars(self),
            "method": method,
            "classes": list(self.classes),
        }


def is_adaptation(path: Path) -> bool:
    """Whether a path is a folder with an adaptation."""
    return (path / RECORD).is_file()


def base_of(engine: Engine, source: str) -> dict[str, Any]:
    """What a record says of a base."""
    card = engine.card
    return {
        "name": card.name,
        "source": source,
        "family": card.family,
        "size": card.size,
        "version": card.version,
        "input_size": engine.input_size,
        "weights_hash": engine.weights_hash,
    }


def write(folder: Path, record: Record, tensors: Mapping[str, Tensor]) -> Record:
    """Write weights and record; the record comes last, so a folder that has one is whole.

    Raises:
        WriteError: the folder cannot be written.
    """
    whole = {
        name: item.detach().cpu().float() for name, item in record.method.deployed(tensors).items()
    }
    record = replace(record, weights_hash=tensor_hash(whole), versions=versions())
    write_safetensors(
        whole, folder / WEIGHTS, {"format": "pt", "segscope.adaptation": record.method.name}
    )
    (folder / WEIGHTS).chmod(0o644)
    with atomic(folder / RECORD) as part:
        part.write_text(json.dumps(record.as_dict(), indent=1) + "\n", encoding="utf-8")
    return record


def versions() -> dict[str, str]:
    """What computed an adaptation."""
    return {
        "segscope": __version__,
        **{name: metadata.version(name) for name in ("torch", "transformers", "numpy")},
    }


def read_record(folder: Path) -> Record:
    """The record of a folder.

    Raises:
        CheckpointError: damaged, of a newer layout, or of an unknown method.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("segscope_adaptation") != FORMAT:
            raise CheckpointError(
                f"{path} has a layout that this version does not know; update segscope"
            )
        chosen = content.pop("method")
        kind = METHODS.get(chosen["name"])
        if kind is None:
            raise CheckpointError(
                f"{path} is an adaptation by {chosen['name']!r}, which this version does not know (it has "
                f"{', '.join(METHODS)}); update segscope"
            )
        return Record(
            kind.from_dict(chosen["settings"]), **{**content, "classes": tuple(content["classes"])}
        )
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SegscopeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as an adaptation ({error}); copy the folder again"
        ) from error


def load_adaptation(
    folder: Path, load_base: LoadBase, device: torch.device | str = "cpu"
) -> Engine | Segmenter:
    """The base of an adaptation with the adaptation on it.

    Args:
        folder: as `segscope adapt` leaves it.
        load_base: gives the base.
        device: for adaptations that work without a base.

    Raises:
        CheckpointError: damaged, or the base is another one than it was made on.
    """
    record = read_record(folder)
    if record.method.standalone:
        absent = cast(Engine, MissingBase(record.base, device))
        return attached(record, absent, _weights(folder, record), folder)
    engine = _base(folder, record, load_base, not record.method.promptable)
    return attached(record, engine, _weights(folder, record), folder)


def merged(folder: Path, load_base: LoadBase) -> Checkpoint:
    """An adaptation and its base as one plain network.

    Raises:
        UsageError: the method adds what no plain network holds.
        CheckpointError: as `load_adaptation`.
    """
    record = read_record(folder)
    if type(record.method).merge is Method.merge:
        raise UsageError(
            f"{folder} is an adaptation by {record.method.name}, which adds modules that a plain network lacks; it "
            "cannot become one file. Use the folder itself as a model"
        )
    engine = _base(folder, record, load_base, True)
    adapted = _filled(record, engine, _weights(folder, record), folder)
    card = named(adapted, record).card
    network_ = network(record.method.merge(adapted))
    tensors = {
        name: item.detach().cpu().clone() for name, item in network_.state_dict().items()
    }  # some share memory
    version = str(record.base.get("version", ""))
    return Checkpoint(
        replace(card, input_size=engine.input_size),
        version,
        tensors,
        (),
        tensor_hash(tensors),
        folder,
    )


def _base(folder: Path, record: Record, load_base: LoadBase, whole: bool) -> Engine:
    """The base that a record names, `whole` in float32, unless it is another one by now."""
    try:
        source, side, expected = (
            record.base[key] for key in ("source", "input_size", "weights_hash")
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / RECORD} does not say which base it is for; copy the folder again"
        ) from error
    if is_adaptation(Path(source).expanduser()):
        raise CheckpointError(
            f"{folder} names another adaptation, {source}, as its base; that is not supported"
        )
    try:
        engine = load_base(str(source), int(side), whole)
    except SegscopeError as error:
        raise type(error)(
            f"the base of the adaptation {folder} cannot be loaded: {error}"
        ) from error
    if engine.weights_hash != expected:
        raise CheckpointError(
            f"{folder} was made on {record.base.get('name', source)} with weights {expected}, but {source} now has "
            f"weights {engine.weights_hash}: another checkpoint. An adaptation fits its own base only; put that one "
            "back, or adapt again"
        )
    return engine


def attached(
    record: Record, engine: Engine, tensors: Mapping[str, Tensor], folder: Path
) -> Engine | Segmenter:
    """An engine with the tensors of a record on it, in evaluation mode and without gradients."""
    return named(_filled(record, engine, tensors, folder), record)


def _filled(record: Record, engine: Engine, tensors: Mapping[str, Tensor], folder: Path) -> Adapted:
    adapted = attach(record.method, engine, record.classes)
    wanted = {name: tuple(item.shape) for name, item in adapted.tensors().items()}
    there = {name: tuple(item.shape) for name, item in tensors.items()}
    faults = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''})"
        for names, what in (
            (wanted.keys() - there.keys(), "missing"),
            (there.keys() - wanted.keys(), "not known"),
            (
                {name for name in wanted.keys() & there.keys() if wanted[name] != there[name]},
                "of another shape",
            ),
        )
        if names
    ]
    if faults:
        raise CheckpointError(
            f"the weights of {folder} do not fit {record.method.name} on {engine.card.name}: tensors "
            f"{'; '.join(faults)}. Nothing was loaded; copy the folder again, or adapt again with this version"
        )
    adapted.fill(tensors)
    adapted.root.requires_grad_(False)
    adapted.root.eval()
    _settle(engine)
    return adapted


def attach(method: Method, engine: Engine, classes: tuple[str, ...], seed: int = 0) -> Adapted:
    """A method on an engine, with chance of its own, so that every process makes the same."""
    network(engine).requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = method.attach(engine, classes)
    asking = {name for name, item in adapted.root.named_parameters() if item.requires_grad}
    if asking != set(adapted.trained):
        raise AssertionError(
            f"{method.name} trains {len(adapted.trained)} tensors and lets {len(asking)} ask for it"
        )
    return adapted


def named(adapted: Adapted, record: Record) -> Engine | Segmenter:
    """The result with its own name and hash, and the data sets it has seen."""
    model = adapted.model
    engine = adapted.engine
    seen = tuple(str(name) for name in record.data.get("sets", ()))
    parts = (
        engine.weights_hash,
        record.method.name,
        json.dumps(record.method.as_dict()),
        record.weights_hash,
    )
    model.weights_hash = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    model.card = replace(
        model.card,
        name=f"{engine.card.name}+{record.method.name}",
        trained_on=(
            *engine.card.trained_on,
            *(name for name in seen if name not in engine.card.trained_on),
        ),
        note=f"{engine.card.name} adapted by {record.method.name} to {', '.join(seen) or 'data'}.",
    )
    return model


def _weights(folder: Path, record: Record) -> dict[str, Tensor]:
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder} holds no {WEIGHTS}; the copy is not complete, copy the folder again"
        )
    tensors = read_tensors(folder / WEIGHTS)[0]
    if record.weights_hash and tensor_hash(tensors) != record.weights_hash:
        raise CheckpointError(
            f"{WEIGHTS} and {RECORD} of {folder} are not of one training; copy the folder again"
        )
    broken = [name for name, item in tensors.items() if not bool(item.isfinite().all())]
    if broken:
        raise CheckpointError(
            f"{folder} holds numbers that are not finite ({', '.join(broken[:3])}); adapt again"
        )
    return tensors


def _settle(engine: Any) -> None:
    """Bring new modules to the device and number type of their engine, by its own rule."""
    if isinstance(engine, MissingBase):
        return
    engine.model.to(engine.device)
    if engine.card.family == "sam":
        part = engine.model.vision_encoder
    else:
        part = engine.model
    part.to(engine.dtype)
