"""Files with weights, read without trusting them: bytes on disk to named tensors.

A `.pt` or `.pth` file is a pickle and may hold code; only PyTorch's restricted unpickler reads it,
which runs none.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segscope.errors import CheckpointError, WriteError
from segscope.files import atomic

INDEX = "model.safetensors.index.json"
UNFINISHED_RUN = "run.json"
"""A file of `segscope adapt` until a run is finished."""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Tensors of a file or of a folder with safetensors files.

    Returns:
        The tensors by name (memory-mapped where the format allows), the file's metadata, and the
        names of entries beside the weights (an optimizer's, counters), which are not used.

    Raises:
        CheckpointError: no such file, not a checkpoint, damaged, or a pickle with code in it.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise CheckpointError(
            f"no file {str(path)!r}. `segscope models` lists what can be loaded by name."
        )
    head = _head(path)
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return _read_pickle(path, zipped=head[:1] == b"P")
    if (len(head) == 9 and head[8:] == b"{") or path.suffix == ".safetensors":
        tensors, metadata = _read_safetensors(path)
        return tensors, metadata, []
    raise CheckpointError(
        f"{path.name!r} is not a checkpoint: it begins with {head[:4]!r}. Wanted: a PyTorch file "
        "(.pt, .pth), a "
        ".safetensors file or a folder with config.json and model.safetensors. A download that "
        "was cut short or a web "
        "page that was saved under this name looks like this; fetch it again."
    )


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file; `path` appears only when it is complete.

    Raises:
        WriteError: the folder is missing or not writable, or the disk is full.
    """
    from safetensors.torch import save_file

    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with atomic(path) as part:
            save_file(whole, part, metadata)
    except Exception as error:
        raise WriteError(
            f"cannot write {str(path)!r}: {error}. Choose a folder that exists and has room."
        ) from error


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, first 16 hex digits: the same in whatever file
    they came.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        flat = value.reshape(-1)
        if flat.stride(-1) != 1:  # a single number may have any stride
            flat = flat.new_empty(flat.shape).copy_(flat)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, all 64 hex digits, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(9)
    except OSError as error:
        raise CheckpointError(f"cannot read {str(path)!r}: {error.strerror}.") from error


def _read_folder(path: Path) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    single = path / "model.safetensors"
    if single.is_file():
        tensors, metadata = _read_safetensors(single)
        return tensors, metadata, []
    if (path / UNFINISHED_RUN).is_file():
        raise CheckpointError(
            f"the folder {str(path)!r} holds a run of `segscope adapt` that was interrupted. "
            "Finish it first: the same command with --resume"
        )
    if not (path / INDEX).is_file():
        raise CheckpointError(
            f"the folder {str(path)!r} holds neither model.safetensors nor {INDEX}. Wanted: "
            "config.json beside one of "
            "them, as transformers writes them, or the path of a checkpoint file."
        )
    try:
        names = sorted(set(json.loads((path / INDEX).read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise CheckpointError(
            f"{INDEX} in {str(path)!r} cannot be read: {error}. Fetch the folder again."
        ) from error
    tensors = {}
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(
                f"{INDEX} in {str(path)!r} points outside its folder: {name!r}. It is not used."
            )
        tensors.update(_read_safetensors(path / name)[0])
    return tensors, {}, []


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # copies: the file is mapped into memory, and where its tensors lie depends on their
            # names. MKL's products of a matrix with a vector depend on that in the last bits, so
            # two files of the same weights would give slightly different logits
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path.name!r} is not a whole safetensors file: {error}. Copy or fetch it again."
        ) from error


def _read_pickle(
    path: Path, *, zipped: bool
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    try:
        # the memory map is private to us: nothing we do to the weights reaches the file
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about old pickle protocols; what cannot be read is an error below
            with torch.serialization.safe_globals(_numbers()):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name!r} asks for code to be run while it is read{_wishes(path, zipped)}; "
            "nothing was run and it is "
            "not loaded. Wanted: a file with nothing but tensors and plain values. If you made "
            "it yourself, save only "
            "the state_dict: torch.save(model.state_dict(), path)."
        ) from error
    except (
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        KeyError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        if str(error):
            reason = str(error).splitlines()[0]
        else:
            reason = type(error).__name__
        raise CheckpointError(
            f"{path.name!r} cannot be read as a PyTorch checkpoint: {reason}. It may be cut "
            "short, or be a program "
            "(TorchScript) and not weights. Fetch it again or export the state_dict."
        ) from error
    tensors, aside = _find_state(content, path.name)
    return tensors, {}, aside


def _numbers() -> list[Any]:
    """What NumPy numbers are made of in a pickle, under the names of NumPy 1 and 2: trainers leave
    figures as such.

    Only fixed-size numbers: a dtype of objects would not be made of these.
    """
    kinds = [
        type(np.dtype(name)) for name in ("float64", "float32", "float16", "int64", "int32", "bool")
    ]
    scalar: Any = np.float64(0).__reduce__()[0]
    return [
        np.dtype,
        *kinds,
        (scalar, "numpy._core.multiarray.scalar"),
        (scalar, "numpy.core.multiarray.scalar"),
    ]


def _wishes(path: Path, zipped: bool) -> str:
    """What the pickle wanted to call, found without running it."""
    if not zipped:
        return ""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (
        Exception
    ):  # a hostile file may break the search too; the refusal stands without the names
        return ""
    if names:
        return f" ({', '.join(names[:4])})"
    return ""


def _find_state(content: Any, name: str) -> tuple[dict[str, Tensor], list[str]]:
    """The dictionary of tensors inside what a checkpoint holds, and the entries beside it."""
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{name!r} holds a {type(content).__name__}, not a dictionary of named tensors."
        )
    for key in ("model", "state_dict", "model_state_dict"):
        inner = content.get(key)
        if isinstance(inner, dict) and _holds_tensors(inner):
            aside = sorted(map(str, content.keys() - {key}))
            return _only_tensors(inner, name, aside), aside
    if not _holds_tensors(content):
        listed = ", ".join(sorted(map(str, content))[:6]) or "nothing"
        raise CheckpointError(
            f"{name!r} holds no weights: found {listed}; wanted named tensors, or them under "
            "'model'."
        )
    rest: list[str] = []
    return _only_tensors(content, name, rest), rest


def _holds_tensors(state: dict[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in state.values())


def _only_tensors(state: dict[Any, Any], name: str, aside: list[str]) -> dict[str, Tensor]:
    tensors = {}
    for key, value in state.items():
        if not isinstance(key, str):
            raise CheckpointError(
                f"{name!r} names a tensor with a {type(key).__name__}; wanted text."
            )
        if not isinstance(value, Tensor):
            aside.append(key)
            continue
        if value.layout != torch.strided or value.is_quantized:
            raise CheckpointError(
                f"{key!r} in {name!r} is a sparse or quantised tensor; wanted plain numbers."
            )
        tensors[key] = value
    if all(key.startswith("module.") for key in tensors):  # saved from several GPUs at once
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors
