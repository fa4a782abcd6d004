"""Load a model by name or path: a base network, or an adaptation on its base."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, overload

from segscope.errors import CheckpointError, UnknownName, UsageError
from segscope.models.model_cards import CARDS, Card, ModelName, card

if TYPE_CHECKING:
    import torch

    from segscope.models.checkpoint import Checkpoint
    from segscope.models.engine import Engine
    from segscope.models.segmenter import Segmenter

SUFFIXES = {".pt", ".pth", ".safetensors", ".ckpt", ".bin"}


@overload
def load(
    name_or_path: ModelName,
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
    """Load a network.

    Args:
        name_or_path: name of a model (`segscope models` lists them), an official .pt or .pth file,
            a safetensors file, a folder with config.json and model.safetensors, or the folder of
            an adaptation. Weights of a named model that are not on this machine are downloaded.
        device: "auto" (CUDA, otherwise Apple's MPS, otherwise the CPU), or a torch device.
        dtype: default float32 on CPU and MPS; on CUDA bfloat16 if supported, otherwise float16.
        input_size: side of the square input in pixels, if it should differ from the model's own.

    Returns:
        The engine, in evaluation mode and without gradients. An adaptation that needs no prompts
        is a `segscope.models.segmenter.Segmenter` instead.

    Raises:
        UnknownName: neither the name of a model nor a file.
        CheckpointError: the weights are damaged, unsafe, of another network or not available.
        UsageError: a device that does not exist, or an unknown dtype.

    Example:
        >>> import segscope as ss
        >>> engine = ss.load("mini", device="cpu")
        >>> engine.card.name, engine.input_size
        ('mini', 256)
    """
    place = _resolve_device(device)
    number_type = _resolve_dtype(dtype, place)
    path = as_path(name_or_path)
    if path is None:
        return _load_network(str(name_or_path), place, number_type, input_size)
    if (path / "adaptation.json").is_file():
        return _load_adaptation(path, place, number_type, input_size)
    return _load_network(path, place, number_type, input_size)


def _load_adaptation(
    folder: Path, device: torch.device, dtype: torch.dtype, input_size: int | None
) -> Engine | Segmenter:
    """An adaptation on the base that it names."""
    import torch

    from segscope.adapt.saved import load_adaptation

    def load_base(source: str, side: int, whole: bool) -> Engine:
        if input_size not in (None, side):
            raise UsageError(
                f"{folder} was adapted at an input size of {side} pixels; omit the input size"
            )
        base_dtype = dtype
        if whole:
            base_dtype = torch.float32
        return _load_network(_name_or_path(source), device, base_dtype, side)

    return load_adaptation(folder, load_base, device)


def merged(folder: Path) -> Checkpoint:
    """An adaptation and its base as one plain network, for `segscope.models.checkpoint.save`.

    Raises:
        UsageError: not an adaptation, or one with modules that a plain network does not have.
        CheckpointError: the adaptation is damaged, or its base is not available.
    """
    import torch

    from segscope.adapt import saved

    if not saved.is_adaptation(folder):
        raise UsageError(
            f"{folder} is not an adaptation; expected a folder written by `segscope adapt`"
        )

    def load_base(source: str, side: int, _whole: bool) -> Engine:
        return _load_network(_name_or_path(source), torch.device("cpu"), torch.float32, side)

    return saved.merged(folder, load_base)


def _load_network(
    name_or_path: str | Path, device: torch.device, dtype: torch.dtype, input_size: int | None
) -> Engine:
    """A network that is not an adaptation, by the name of its card or the path of its weights."""
    from segscope.models.checkpoint import network, quiet, read

    with quiet():
        if isinstance(name_or_path, Path):
            checkpoint = read(name_or_path, input_size=input_size)
        else:
            entry = card(name_or_path)
            side = input_size or entry.input_size
            checkpoint = read(_find_weights(entry), input_size=side, name=entry.name)
        model = network(checkpoint).requires_grad_(False)
    make = _engine_class(checkpoint.card.family)
    return make(
        model, checkpoint.card, device=device, dtype=dtype, weights_hash=checkpoint.weights_hash
    )


def _name_or_path(source: str) -> str | Path:
    """A base as an adaptation records it: the name of a card, or a path."""
    path = as_path(source)
    if path is None:
        return source
    return path


def as_path(name_or_path: str | Path) -> Path | None:
    """The argument as a path, unless it is the name of a model."""
    if isinstance(name_or_path, Path):
        return name_or_path
    names = [entry.name for entry in CARDS]
    if name_or_path in names:
        return None
    path = Path(name_or_path).expanduser()
    if path.exists() or path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        return path
    if not name_or_path.strip():
        raise UnknownName("model", name_or_path, names)
    return None


def _find_weights(entry: Card) -> Path:
    """Where the weights of a card are; downloaded if necessary."""
    if entry.family != "mini":
        from segscope.models.hub import fetch

        return fetch(entry)
    path = Path(str(resources.files("segscope") / "weights" / "mini.safetensors"))
    if not path.is_file():
        raise CheckpointError(
            "the weights of mini are missing, although they are part of the package. Reinstall "
            "segscope, or choose another model (`segscope models`)."
        )
    return path


def _engine_class(family: str) -> Callable[..., Engine]:
    if family == "sam":
        from segscope.models.sam import SamEngine

        return SamEngine
    if family == "mini":
        from segscope.models.mini import MiniEngine

        return MiniEngine
    from segscope.models.sam2 import Sam2Engine

    return Sam2Engine


def _resolve_device(device: str | torch.device) -> torch.device:
    import torch

    if device == "auto":
        return torch.device(_best_device())
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"unknown device {device!r}; expected auto, cpu, cuda, cuda:1 or mps"
        ) from error
    counts = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if (place.index or 0) >= counts.get(place.type, 0):
        raise UsageError(
            f"device {str(place)!r} is not available (CUDA devices: {counts['cuda']}, PyTorch "
            f"{torch.__version__}). Omit the device to use the best available one, or install a "
            "PyTorch build for it; `segscope doctor` shows details."
        )
    return place


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def _resolve_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    import torch

    if dtype is None:
        if device.type != "cuda":
            return torch.float32
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16
        return torch.float16
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise UnknownName("dtype", name, known)
    return known[name]
