"""Saved adaptation: a folder with the trained tensors, the base they belong to, the data they were
made from, and how good they are.

adaptation.json       method, settings, base and its hash, classes, data card, training, figures,
                      versions
weights.safetensors   the trained tensors only, by their path in the network
curve.csv, curve.png  the training curves
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
from segscope.errors import CheckpointError, SegscopeError, UsageError, list_first
from segscope.files import atomic
from segscope.models.checkpoint import Checkpoint
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.models.weight_files import read_tensors, tensor_hash, write_safetensors

RECORD = "adaptation.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1

LoadBase = Callable[[str, int, bool], Engine]
"""Loads a base from its name or path, the side of its input, and whether it must compute in
float32.
"""


@dataclass(frozen=True)
class AdaptationRecord:
    """Content of adaptation.json.

    Attributes:
        method: with its settings.
        base: name, source (a card's name or a path), family, size, version, input_size,
            weights_hash.
        classes: names, in order.
        data: see `segscope.adapt.data.training_set`.
        training: settings of the run and how it ended.
        figures: "before", "after" and whatever else was measured.
        weights_hash: of the trained tensors.
        versions: of the software that computed it.
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
        """The record as adaptation.json stores it."""
        method = {"name": self.method.name, "settings": self.method.as_dict()}
        return {
            "segscope_adaptation": FORMAT,
            **vars(self),
            "method": method,
            "classes": list(self.classes),
        }


# --- writing -------------------------------------------------------------------------------------


def is_adaptation(path: Path) -> bool:
    """Whether a path is a folder with an adaptation."""
    return (path / RECORD).is_file()


def base_of(engine: Engine, source: str) -> dict[str, Any]:
    """Description of a base in a record."""
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


def versions() -> dict[str, str]:
    """Versions of the software that computes an adaptation."""
    libraries = {name: metadata.version(name) for name in ("torch", "transformers", "numpy")}
    return {"segscope": __version__, **libraries}


def write(
    folder: Path, record: AdaptationRecord, tensors: Mapping[str, Tensor]
) -> AdaptationRecord:
    """Write weights and record; the record comes last, so a folder that has one is complete.

    Raises:
        WriteError: the folder cannot be written.
    """
    deployed = record.method.deployed(tensors)
    values = {name: tensor.detach().cpu().float() for name, tensor in deployed.items()}
    record = replace(record, weights_hash=tensor_hash(values), versions=versions())
    header = {"format": "pt", "segscope.adaptation": record.method.name}
    write_safetensors(values, folder / WEIGHTS, header)
    (folder / WEIGHTS).chmod(0o644)
    with atomic(folder / RECORD) as part:
        part.write_text(json.dumps(record.as_dict(), indent=1) + "\n", encoding="utf-8")
    return record


# --- reading -------------------------------------------------------------------------------------


def read_record(folder: Path) -> AdaptationRecord:
    """The record of a folder.

    Raises:
        CheckpointError: damaged, in a newer format, or of an unknown method.
    """
    path = folder / RECORD
    try:
        return _parse_record(json.loads(path.read_text(encoding="utf-8")), path)
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SegscopeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as an adaptation ({error}); copy the folder again"
        ) from error


def _parse_record(content: dict[str, Any], path: Path) -> AdaptationRecord:
    if content.pop("segscope_adaptation") != FORMAT:
        raise CheckpointError(f"{path} has a format that this version does not know; "
                              "update segscope")  # fmt: skip
    method = content.pop("method")
    kind = METHODS.get(method["name"])
    if kind is None:
        raise CheckpointError(
            f"{path} is an adaptation by {method['name']!r}, which this version does not know "
            f"(it knows {', '.join(METHODS)}); update segscope"
        )
    content["classes"] = tuple(content["classes"])
    return AdaptationRecord(kind.from_dict(method["settings"]), **content)


def load_adaptation(
    folder: Path, load_base: LoadBase, device: torch.device | str = "cpu"
) -> Engine | Segmenter:
    """The base of an adaptation with the adaptation attached.

    Args:
        folder: as `segscope adapt` writes it.
        load_base: loads the base.
        device: for adaptations that work without a base.

    Raises:
        CheckpointError: damaged, or the base is not the one that it was made on.
    """
    record = read_record(folder)
    if record.method.standalone:
        engine = cast(Engine, MissingBase(record.base, device))
    else:
        engine = _load_base(folder, record, load_base, not record.method.promptable)
    return load_tensors(record, engine, _read_weights(folder, record), folder)


def merged(folder: Path, load_base: LoadBase) -> Checkpoint:
    """An adaptation and its base as one plain network.

    Raises:
        UsageError: the method adds modules that no plain network has.
        CheckpointError: as `load_adaptation`.
    """
    record = read_record(folder)
    if type(record.method).merge is Method.merge:
        raise UsageError(
            f"{folder} is an adaptation by {record.method.name}, which adds modules that a plain "
            "network lacks; it cannot become one file. Use the folder itself as a model"
        )
    engine = _load_base(folder, record, load_base, True)
    adapted = _attach_tensors(record, engine, _read_weights(folder, record), folder)
    card = name_result(adapted, record).card
    plain = network(record.method.merge(adapted))
    # copies, because some tensors share memory
    tensors = {name: item.detach().cpu().clone() for name, item in plain.state_dict().items()}
    single_mask = engine.answer_rule.candidates == 1
    return Checkpoint(
        replace(card, input_size=engine.input_size, single_mask=single_mask),
        str(record.base.get("version", "")),
        tensors,
        (),
        tensor_hash(tensors),
        folder,
    )


def _load_base(
    folder: Path, record: AdaptationRecord, load_base: LoadBase, float32: bool
) -> Engine:
    """The base that a record names; refused if it has changed since."""
    try:
        source = str(record.base["source"])
        side = int(record.base["input_size"])
        expected = record.base["weights_hash"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / RECORD} does not say which base it is for; copy the folder again"
        ) from error
    if is_adaptation(Path(source).expanduser()):
        raise CheckpointError(
            f"{folder} names another adaptation, {source}, as its base; that is not supported"
        )
    try:
        engine = load_base(source, side, float32)
    except SegscopeError as error:
        message = f"the base of the adaptation {folder} cannot be loaded: {error}"
        raise type(error)(message) from error
    if engine.weights_hash != expected:
        raise CheckpointError(
            f"{folder} was made on {record.base.get('name', source)} with weights {expected}, "
            f"but {source} now has weights {engine.weights_hash}: another checkpoint. An "
            "adaptation fits its own base only; restore that one, or adapt again"
        )
    return engine


def _read_weights(folder: Path, record: AdaptationRecord) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}: the copy is incomplete; copy it again")
    tensors = read_tensors(path)[0]
    if record.weights_hash and tensor_hash(tensors) != record.weights_hash:
        raise CheckpointError(
            f"{WEIGHTS} and {RECORD} in {folder} do not belong together; copy the folder again"
        )
    broken = [name for name, item in tensors.items() if not bool(item.isfinite().all())]
    if broken:
        raise CheckpointError(
            f"{folder} contains values that are not finite ({', '.join(broken[:3])}); adapt again"
        )
    return tensors


# --- attaching -----------------------------------------------------------------------------------


def attach(method: Method, engine: Engine, classes: tuple[str, ...], seed: int = 0) -> Adapted:
    """A method on an engine, with its own random seed, so that every process builds the same."""
    network(engine).requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = method.attach(engine, classes)
    trainable = {name for name, item in adapted.root.named_parameters() if item.requires_grad}
    if trainable != set(adapted.trained):
        raise AssertionError(
            f"{method.name} lists {len(adapted.trained)} trained tensors, "
            f"but {len(trainable)} require gradients"
        )
    return adapted


def load_tensors(
    record: AdaptationRecord, engine: Engine, tensors: Mapping[str, Tensor], folder: Path
) -> Engine | Segmenter:
    """An engine with the tensors of a record attached, in evaluation mode and without gradients."""
    return name_result(_attach_tensors(record, engine, tensors, folder), record)


def _attach_tensors(
    record: AdaptationRecord, engine: Engine, tensors: Mapping[str, Tensor], folder: Path
) -> Adapted:
    adapted = attach(record.method, engine, record.classes)
    faults = _compare_shapes(adapted.tensors(), tensors)
    if faults:
        raise CheckpointError(
            f"the weights in {folder} do not fit {record.method.name} on {engine.card.name}: "
            f"tensors {'; '.join(faults)}. Nothing was loaded; copy the folder again, or adapt "
            "again with this version"
        )
    adapted.fill(tensors)
    adapted.root.requires_grad_(False)
    adapted.root.eval()
    if not isinstance(engine, MissingBase):
        _move_modules(engine)
    return adapted


def _compare_shapes(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> list[str]:
    """How tensors differ from the expected ones in name and shape."""
    both = expected.keys() & actual.keys()
    differences = {
        "missing": expected.keys() - actual.keys(),
        "unknown": actual.keys() - expected.keys(),
        "of another shape": {name for name in both if expected[name].shape != actual[name].shape},
    }
    return [
        f"{len(names)} {what} ({list_first(sorted(names), 3)})"
        for what, names in differences.items()
        if names
    ]


def name_result(adapted: Adapted, record: AdaptationRecord) -> Engine | Segmenter:
    """The result with a name and hash of its own, and the data sets that it was trained on."""
    model = adapted.model
    base = adapted.engine.card
    sets = tuple(map(str, record.data.get("sets", ())))
    parts = (
        adapted.engine.weights_hash,
        record.method.name,
        json.dumps(record.method.as_dict()),
        record.weights_hash,
    )
    model.weights_hash = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    added = tuple(name for name in sets if name not in base.trained_on)
    model.card = replace(
        model.card,
        name=f"{base.name}+{record.method.name}",
        trained_on=(*base.trained_on, *added),
        note=f"{base.name} adapted by {record.method.name} to {', '.join(sets) or 'data'}.",
    )
    return model


def _move_modules(engine: Engine) -> None:
    """Move new modules to the device and number type of their engine, by the rule of its family."""
    model = network(engine)
    model.to(engine.device)
    if engine.card.family == "sam":
        model.vision_encoder.to(engine.dtype)
    else:
        model.to(engine.dtype)
