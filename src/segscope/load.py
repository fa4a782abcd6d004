"""The one switchboard: a name or a path to an engine, ready on its device."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from segscope.errors import CheckpointError, UnknownName, UsageError
from segscope.models.model_cards import CARDS, Card, card

if TYPE_CHECKING:
    import torch

    from segscope.models.checkpoint import Checkpoint
    from segscope.models.engine import Engine
    from segscope.models.segmenter import Segmenter

Name = Literal[
    "mini",
    "sam2.1-tiny",
    "sam2.1-small",
    "sam2.1-base+",
    "sam2.1-large",
    "sam2-tiny",
    "sam2-small",
    "sam2-base+",
    "sam2-large",
    "medsam2",
    "edgetam",
    "sam-vit-b",
    "sam-vit-l",
    "sam-vit-h",
    "medsam",
    "sam3-tracker",
]
"""Names of `CARDS`; what they give answers prompts."""

SUFFIXES = {".pt", ".pth", ".safetensors", ".ckpt", ".bin"}


@overload
def load(
    name_or_path: Name,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    input_size: int | None = None,
) -> Engine: ...


@overload
def load(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    input_size: int | None = None,
) -> Engine | Segmenter: ...


def load(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    input_size: int | None = None,
) -> Engine | Segmenter:
    """A network, ready to use.

    Args:
        name_or_path: name of a card (`segscope models` lists them), an official .pt or .pth file, a
            safetensors file, a folder with config.json and model.safetensors, or an adaptation's
            folder. Weights of a card that are not on this machine are fetched from the hub.
        device: "auto" (CUDA, else Apple's MPS, else the CPU), or as torch names it.
        dtype: default float32 on CPU and MPS; on CUDA bfloat16 where it is supported, else float16.
        input_size: side of the square input in pixels, where it is to differ from the card's.

    Returns:
        The engine, in evaluation mode; its parameters do not ask for gradients. An adaptation that
        needs no prompts gives a `segscope.models.segmenter.Segmenter` instead.

    Raises:
        UnknownName: neither a card nor a file.
        CheckpointError: the weights are damaged, unsafe, of another network or not reachable.
        UsageError: a device that is not there, an unknown dtype.

    Example:
        >>> import segscope as ss
        >>> engine = ss.load("mini", device="cpu")  # doctest: +SKIP
    """
    where = _device(device)
    number = _dtype(dtype, where)
    path = _as_path(name_or_path)
    if path is not None and (path / "adaptation.json").is_file():
        return _adaptation(path, where, number, input_size)
    return _plain(name_or_path, where, number, input_size)


def _adaptation(
    folder: Path, device: torch.device, dtype: torch.dtype, input_size: int | None
) -> Engine | Segmenter:
    """The base that an adaptation names, with the adaptation on it."""
    import torch

    from segscope.adapt.saved import load_adaptation

    def base(source: str, side: int, whole: bool) -> Engine:
        if input_size not in (None, side):
            raise UsageError(
                f"{folder} was adapted at an input of {side} pixels; leave the input size out"
            )
        return _plain(source, device, torch.float32 if whole else dtype, side)

    return load_adaptation(folder, base, device)


def merged(folder: Path) -> Checkpoint:
    """An adaptation and its base as one plain network, for `segscope.models.checkpoint.save`.

    Raises:
        UsageError: no adaptation, or one with modules that no plain network holds.
        CheckpointError: damaged, or its base is not there.
    """
    import torch

    from segscope.adapt import saved as adaptations

    if not adaptations.is_adaptation(folder):
        raise UsageError(f"{folder} is no adaptation; wanted a folder that `segscope adapt` wrote")
    cpu = torch.device("cpu")
    return adaptations.merged(
        folder, lambda source, side, _whole: _plain(source, cpu, torch.float32, side)
    )


def _plain(
    name_or_path: str | Path, device: torch.device, dtype: torch.dtype, input_size: int | None
) -> Engine:
    """A network that is no adaptation."""
    return _engine(_checkpoint(name_or_path, input_size), device, dtype)


def _checkpoint(name_or_path: str | Path, input_size: int | None) -> Checkpoint:
    from segscope.models.build import quiet
    from segscope.models.checkpoint import read

    with quiet():
        path = _as_path(name_or_path)
        if path is not None:
            return read(path, input_size=input_size)
        entry = card(str(name_or_path))
        return read(_weights(entry), input_size=input_size or entry.input_size, name=entry.name)


def _as_path(name_or_path: str | Path) -> Path | None:
    """The argument as a path if it means one."""
    if isinstance(name_or_path, Path):
        return name_or_path
    if name_or_path in {entry.name for entry in CARDS}:
        return None
    path = Path(name_or_path).expanduser()
    if path.exists() or path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        return path
    if not name_or_path.strip():
        raise UnknownName("model", name_or_path, [entry.name for entry in CARDS])
    return None


def _weights(entry: Card) -> Path:
    """Where the weights of a card are; fetched if need be."""
    if entry.family != "mini":
        from segscope.models.hub import fetch

        return fetch(entry)
    path = Path(str(resources.files("segscope") / "weights" / "mini.safetensors"))
    if not path.is_file():
        raise CheckpointError(
            "the weights of mini, which come with the package, are missing: this installation is not complete. Install "
            "segscope again, or name another model (`segscope models`)."
        )
    return path


def _engine(found: Checkpoint, device: torch.device, dtype: torch.dtype) -> Engine:
    from segscope.models.build import align, quiet
    from segscope.models.checkpoint import network

    with quiet():
        model = network(found).requires_grad_(False)
    if device.type == "cpu":
        align(model)
    make = _engine_class(found.card.family)
    return make(model, found.card, device=device, dtype=dtype, weights_hash=found.weights_hash)


def _engine_class(family: str) -> Callable[..., Engine]:
    if family == "sam":
        from segscope.models.sam import SamEngine

        return SamEngine
    if family == "mini":
        from segscope.models.mini_engine import MiniEngine

        return MiniEngine
    from segscope.models.sam2 import Sam2Engine

    return Sam2Engine


def _device(device: str | torch.device) -> torch.device:
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"no device {device!r}; wanted auto, cpu, cuda, cuda:1 or mps.") from error
    there = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if (wanted.index or 0) >= there.get(wanted.type, 0):
        raise UsageError(
            f"device {str(wanted)!r} is not here (CUDA devices: {torch.cuda.device_count()}, PyTorch "
            f"{torch.__version__}). Leave the device out to take the best there is, or install a PyTorch for it; "
            "`segscope doctor` shows more."
        )
    return wanted


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    import torch

    if dtype is None:
        if device.type != "cuda":
            return torch.float32
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16
        return torch.float16
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype in known.values():
        return dtype  # type: ignore[return-value]
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise UnknownName("number type", name, known)
    return known[name]
