"""Safe unpickling: tensors out of a PyTorch file that also holds objects, such as a pickled
optimiser.

No code of a file runs: every name other than those that tensors are made of stands for an object
that accepts anything and does nothing, and whatever was to be built with it is left out.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from segscope.errors import CheckpointError
from segscope.models.weight_files import read_tensors

_ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}

STATE_KEYS = ("model", "state_dict")
"""Entries of a checkpoint that hold the network's tensors."""


class _Inert:
    """Takes the place of anything that is not a tensor."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...

    def add(self, value: object) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Builds tensors and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is not None:
            return allowed
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _Inert


def _load(file: IO[bytes], **options: Any) -> object:
    return _Unpickler(file, **options).load()


def read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a checkpoint by name, and the names of its other entries; objects are dropped.

    Raises:
        CheckpointError: not a checkpoint, damaged, or without tensors.
    """
    try:
        tensors, _, unused = read_tensors(path)
        return tensors, unused
    except CheckpointError as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            raise
    content = _load_without_objects(path)
    state = _find_state(content)
    tensors = {
        str(key).removeprefix("module."): item
        for key, item in state.items()
        if isinstance(item, Tensor)
    }
    if not tensors:
        raise CheckpointError(
            f"{path.name!r} contains no named tensors, only objects, which are not loaded"
        )
    return tensors, sorted(str(key) for key in content if content[key] is not state)


def _load_without_objects(path: Path) -> dict[Any, Any]:
    """The entries of a checkpoint, with inert stand-ins for objects."""
    module = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="safe_unpickle")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)
    # a hostile or damaged file may fail in any way; none of its code has run
    except Exception as error:
        raise CheckpointError(
            f"{path.name!r} cannot be read: {error}. Download it again."
        ) from error
    if isinstance(content, dict):
        return content
    return {}


def _find_state(content: dict[Any, Any]) -> dict[Any, Any]:
    """The entry with the network's tensors, or the checkpoint itself."""
    for key in STATE_KEYS:
        entry = content.get(key)
        if isinstance(entry, dict):
            return entry
    return content
