"""Salvage: tensors out of a PyTorch file that also holds objects, such as a pickled optimiser.

No code of a file runs: names other than those that tensors are made of stand for an object that
takes anything and does nothing, and what was to be built with them is left out.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from segscope.errors import CheckpointError
from segscope.models.weight_files import read_tensors

_PARTS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # type: ignore[attr-defined]
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,  # type: ignore[attr-defined]
}


class _Inert:
    """Takes the place of anything that is no tensor."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Builds tensors, and nothing else that is not a plain value."""

    def find_class(self, module: str, name: str) -> Any:
        known = _PARTS.get((module, name))
        if (
            known is None
            and module == "torch"
            and isinstance(getattr(torch, name, None), torch.dtype)
        ):
            known = getattr(torch, name)
        if known is None:
            return _Inert
        return known


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a checkpoint, by name, and what beside them is not used; objects in it are
    dropped.

    Raises:
        CheckpointError: no checkpoint, damaged, or without tensors.
    """
    try:
        tensors, _, aside = read_tensors(path)
        return tensors, aside
    except CheckpointError as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            raise
    plain = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="salvage")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=plain)
    except (
        Exception
    ) as error:  # a hostile or damaged file may fail in any way; nothing of it has run
        raise CheckpointError(f"{path.name!r} cannot be read: {error}. Fetch it again.") from error
    if isinstance(content, dict):
        found = content
    else:
        found = {}
    state = next(
        (found[key] for key in ("model", "state_dict") if isinstance(found.get(key), dict)), found
    )
    tensors = {
        str(key).removeprefix("module."): item
        for key, item in state.items()
        if isinstance(item, Tensor)
    }
    if not tensors:
        raise CheckpointError(
            f"{path.name!r} holds no named tensors beside the objects that were dropped"
        )
    return tensors, sorted(str(key) for key in found if found[key] is not state)
