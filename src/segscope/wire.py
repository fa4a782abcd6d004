"""Prompts and masks to JSON and back: one schema for command line, server, log and evaluation."""

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
    """A mask as text: one bit per pixel, deflated, base64."""
    bits = np.packbits(np.asarray(mask, bool)).tobytes()
    return base64.b64encode(zlib.compress(bits, 1)).decode("ascii")


def unpack_mask(text: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (row, column) of `pack_mask`.

    Raises:
        PromptError: the text has another number of pixels, or is damaged.
    """
    rows, columns = size_hw
    pixels = rows * columns
    size = (pixels + 7) // 8
    try:
        # at most one byte more than expected, so that a small text cannot expand without limit
        packed = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, OverflowError, zlib.error) as error:
        raise PromptError(f"a packed mask is damaged: {error}") from error
    if len(packed) != size:
        raise PromptError(f"a packed mask does not have {rows} x {columns} pixels")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=pixels)
    return bits.astype(bool).reshape(size_hw)


def prompt_to_json(prompt: Prompt) -> JsonObject:
    """One prompt without its object id; masks are included as packed text."""
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
            return {
                "type": "scribble",
                "frame": prompt.frame,
                "xy": list(map(list, prompt.xy)),
                "positive": prompt.positive,
                "width": prompt.width,
            }
        case MaskPrompt():
            return _mask_to_json(prompt)


def _mask_to_json(prompt: MaskPrompt) -> JsonObject:
    item: JsonObject = {
        "type": "mask",
        "frame": prompt.frame,
        "size_hw": list(prompt.mask.shape),
        "bits": pack_mask(prompt.mask),
        "refine": prompt.refine,
    }
    if prompt.score != 1:
        item["score"] = prompt.score
    return item


def prompt_from_json(
    item: Mapping[str, Any], object_id: int, read_mask: ReadMask | None = None
) -> Prompt:
    """The prompt of `prompt_to_json`; a mask may name a file (`path`) that `read_mask` opens.

    Raises:
        PromptError: an unknown type, a missing or malformed field.
    """
    try:
        return _parse_prompt(item, object_id, read_mask)
    except PromptError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PromptError(f"a prompt is malformed ({error!r}): {_shorten(item)}") from error


def _parse_prompt(item: Mapping[str, Any], object_id: int, read_mask: ReadMask | None) -> Prompt:
    kind = item["type"]
    frame = _whole(item.get("frame", 0), "frame")
    positive = _flag(item.get("positive", True), "positive")
    match kind:
        case "point":
            x, y = item["xy"]
            return Point(float(x), float(y), frame, object_id, positive)
        case "box":
            return Box(tuple(item["xyxy"]), frame, object_id)
        case "scribble":
            xy = tuple(map(tuple, item["xy"]))
            return Scribble(xy, frame, object_id, positive, float(item.get("width", 3)))
        case "mask":
            mask = _parse_mask(item, read_mask)
            refine = _flag(item.get("refine", False), "refine")
            return MaskPrompt(mask, frame, object_id, refine, float(item.get("score", 1.0)))
    raise PromptError(f"a prompt must be a point, box, scribble or mask, got type {kind!r}")


def _parse_mask(item: Mapping[str, Any], read_mask: ReadMask | None) -> NDArray[np.bool_]:
    if "path" in item and read_mask is not None:
        return read_mask(Path(item["path"]))
    rows, columns = item["size_hw"]
    return unpack_mask(item["bits"], (int(rows), int(columns)))


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise PromptError(f"{name!r} must be true or false, got {value!r}")
    return value


def _whole(value: Any, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise PromptError(f"{name!r} must be a whole number, got {_shorten(value)!r}")


def _shorten(item: object) -> str:
    text = str(item)
    if len(text) < 200:
        return text
    return text[:200] + "..."


def prompts_to_json(
    prompts: Iterable[Prompt], names: Mapping[int, str] | None = None
) -> JsonObject:
    """The prompt file: objects with their names, and their prompts in order."""
    labels = names or {}
    objects: dict[int, JsonObject] = {}
    for prompt in prompts:
        object_id = prompt.object_id
        if object_id not in objects:
            label = labels.get(object_id, "")
            objects[object_id] = {"id": object_id, "label": label, "prompts": []}
        objects[object_id]["prompts"].append(prompt_to_json(prompt))
    return {"version": VERSION, "objects": list(objects.values())}


def prompts_from_json(
    document: Any, read_mask: ReadMask | None = None
) -> tuple[list[Prompt], dict[int, str]]:
    """Prompts in order and object names of a prompt file, or of the record of a run.

    Raises:
        PromptError: not such a document; nothing is guessed.
    """
    if isinstance(document, Mapping) and isinstance(document.get("record"), Mapping):
        document = document["record"].get("prompts")
    if not isinstance(document, Mapping) or not isinstance(document.get("objects"), list):
        raise PromptError(
            'a prompt file must be {"version": 1, "objects": [{"id": 1, "prompts": [...]}]}'
        )
    if document.get("version") != VERSION:
        raise PromptError(
            f"the prompt file has version {document.get('version')!r}; only version {VERSION} is "
            "supported"
        )
    prompts: list[Prompt] = []
    names: dict[int, str] = {}
    for entry in document["objects"]:
        object_id = _parse_object_id(entry)
        if object_id in names:
            raise PromptError(f"object {object_id} is listed twice")
        items = entry.get("prompts", [])
        if not isinstance(items, list):
            raise PromptError(f"the prompts of object {object_id} must be a list")
        names[object_id] = str(entry.get("label") or "")
        prompts += [prompt_from_json(item, object_id, read_mask) for item in items]
    return prompts, names


def _parse_object_id(entry: Any) -> int:
    if isinstance(entry, Mapping):
        object_id = entry.get("id")
        if isinstance(object_id, int) and not isinstance(object_id, bool):
            return object_id
    raise PromptError(f"an object must have a whole number as id: {_shorten(entry)}")


def load_prompts(
    path: Path, read_mask: ReadMask | None = None
) -> tuple[list[Prompt], dict[int, str]]:
    """`prompts_from_json` of a file; mask paths are relative to it.

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
