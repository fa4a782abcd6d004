"""Nouns to JSON and bytes and back: one schema for command line, server, log and evaluation."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble

VERSION = 1
JsonObject = dict[str, Any]
ReadMask = Callable[[Path], NDArray[np.bool_]]


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """A mask as text: one bit a pixel, deflated, base64."""
    return base64.b64encode(zlib.compress(np.packbits(np.asarray(mask, bool)).tobytes(), 1)).decode(
        "ascii"
    )


def unpack_mask(text: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (row, column) of `pack_mask`.

    Raises:
        PromptError: the text holds another number of pixels, or is damaged.
    """
    pixels = size_hw[0] * size_hw[1]
    try:
        inflater = zlib.decompressobj()
        packed = inflater.decompress(base64.b64decode(text, validate=True), (pixels + 7) // 8 + 1)
    except (ValueError, OverflowError, zlib.error) as error:
        raise PromptError(f"a packed mask is damaged: {error}") from error
    if len(packed) != (pixels + 7) // 8:
        raise PromptError(f"a packed mask does not hold {size_hw[0]} x {size_hw[1]} pixels")
    return (
        np.unpackbits(np.frombuffer(packed, np.uint8), count=pixels).astype(bool).reshape(size_hw)
    )


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """One prompt without its object id; masks are packed in place."""
    match prompt:
        case Point():
            return {
                "type": "point",
                "frame": prompt.frame,
                "xy": [prompt.x, prompt.y],
                "positive": prompt.positive,
            }
        case Box():
            return {"type": "box", "frame": prompt.frame, "xyxy": list(prompt.xyxy)}
        case Scribble():
            xy = [list(pair) for pair in prompt.xy]
            return {"type": "scribble", "frame": prompt.frame, "xy": xy, "positive": prompt.positive,
                    "width": prompt.width}  # fmt: skip
        case MaskPrompt():
            if prompt.score == 1:
                score = {}
            else:
                score = {"score": prompt.score}
            return {"type": "mask", "frame": prompt.frame, "size_hw": list(prompt.mask.shape),
                    "bits": pack_mask(prompt.mask), "refine": prompt.refine, **score}  # fmt: skip


def prompt_from_json(
    item: Mapping[str, Any], object_id: int, read_mask: ReadMask | None = None
) -> Prompt:
    """The prompt of `prompt_to_json`; a mask may name a file (`path`) that `read_mask` opens.

    Raises:
        PromptError: an unknown type, a missing or malformed field.
    """
    try:
        kind = item["type"]
        frame = _whole(item.get("frame", 0), "frame")
        positive = _flag(item.get("positive", True), "positive")
        if kind == "point":
            x, y = item["xy"]
            return Point(float(x), float(y), frame, object_id, positive)
        if kind == "box":
            return Box(tuple(item["xyxy"]), frame, object_id)
        if kind == "scribble":
            return Scribble(
                tuple(map(tuple, item["xy"])),
                frame,
                object_id,
                positive,
                float(item.get("width", 3)),
            )
        if kind == "mask":
            refine = _flag(item.get("refine", False), "refine")
            if "path" in item and read_mask is not None:
                mask = read_mask(Path(item["path"]))
            else:
                rows, columns = item["size_hw"]
                mask = unpack_mask(item["bits"], (int(rows), int(columns)))
            return MaskPrompt(mask, frame, object_id, refine, float(item.get("score", 1.0)))
    except PromptError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PromptError(f"a prompt is malformed ({error!r}): {_shorten(item)}") from error
    raise PromptError(f"a prompt is a point, box, scribble or mask, got type {kind!r}")


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise PromptError(f"{name!r} is true or false, got {value!r}")
    return value


def _whole(value: Any, name: str) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise PromptError(f"{name!r} is a whole number, got {_shorten(value)!r}")
    return int(value)


def _shorten(item: object) -> str:
    text = str(item)
    if len(text) < 200:
        return text
    return text[:200] + "..."


def prompts_to_json(
    prompts: Iterable[Prompt], names: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """The prompt file: objects with their names and their prompts in order."""
    objects: dict[int, dict[str, Any]] = {}
    for prompt in prompts:
        entry = objects.setdefault(
            prompt.object_id,
            {
                "id": prompt.object_id,
                "label": (names or {}).get(prompt.object_id, ""),
                "prompts": [],
            },
        )
        entry["prompts"].append(prompt_to_json(prompt))
    return {"version": VERSION, "objects": list(objects.values())}


def prompts_from_json(
    document: Any, read_mask: ReadMask | None = None
) -> tuple[list[Prompt], dict[int, str]]:
    """Prompts in order and object names of a prompt file.

    Raises:
        PromptError: not such a document; nothing is guessed.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("objects"), list):
        raise PromptError(
            'a prompt file is {"version": 1, "objects": [{"id": 1, "prompts": [...]}]}'
        )
    if document.get("version") != VERSION:
        raise PromptError(
            f"a prompt file of version {document.get('version')!r}; this program reads version {VERSION}"
        )
    prompts: list[Prompt] = []
    names: dict[int, str] = {}
    for entry in document["objects"]:
        if (
            not isinstance(entry, Mapping)
            or not isinstance(entry.get("id"), int)
            or isinstance(entry["id"], bool)
        ):
            raise PromptError(f"an object has a whole number as id: {_shorten(entry)}")
        if entry["id"] in names:
            raise PromptError(f"object {entry['id']} is listed twice")
        if not isinstance(entry.get("prompts", []), list):
            raise PromptError(f"the prompts of object {entry['id']} are a list")
        names[entry["id"]] = str(entry.get("label") or "")
        prompts += [
            prompt_from_json(item, entry["id"], read_mask) for item in entry.get("prompts", [])
        ]
    return prompts, names


def load_prompts(
    path: Path, read_mask: ReadMask | None = None
) -> tuple[list[Prompt], dict[int, str]]:
    """`prompts_from_json` of a file; mask paths are taken relative to it.

    Raises:
        PromptError: not a readable JSON file, or not such a document.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PromptError(
            f"cannot read the prompt file {path}: {error.strerror or error}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{path} is not JSON: {error}") from error
    if read_mask is None:
        return prompts_from_json(document)
    return prompts_from_json(document, lambda name: read_mask(path.parent / name))
